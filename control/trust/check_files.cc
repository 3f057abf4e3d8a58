// What a start would refuse of the files of trust, found without starting.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

#include "control/trust/authority.h"
#include "control/trust/handshake.h"
#include "control/trust/host_key.h"
#include "control/trust/host_trust.h"
#include "control/trust/known_hosts.h"
#include "control/trust/private_file.h"

namespace farport {

namespace {

class FileCheck {
 public:
  explicit FileCheck(const TrustSettings& settings) : settings_(settings) {}

  std::vector<TrustFault> run() {
    check_folder();
    check_authority();
    check_certificate();
    return std::move(faults_);
  }

 private:
  // False, and told, when this user may not even look.
  bool may_look(const std::string& key, const std::string& path, int mode = R_OK) {
    if (eaccess(path.c_str(), mode) == 0 || errno != EACCES) return true;
    faults_.push_back({key,
                       fmt::format("{} was not looked at: this user may not read it; run this as "
                                   "the user of farportd",
                                   path),
                       true});
    return false;
  }
  template <class T>
  bool good(const std::string& key, const Result<T>& result) {
    if (result) return true;
    faults_.push_back({key, result.error().message});
    return false;
  }

  void check_folder() {
    const std::string key = "host.state_dir";
    if (!may_look(key, settings_.folder, R_OK | X_OK)) return;
    const auto folder = check_private_folder(settings_.folder);
    if (!folder && folder.error().code == ErrorCode::not_found) return;  // the start makes it
    good(key, folder);
    const std::string known = fmt::format("{}/{}", settings_.folder, known_hosts_file);
    if (may_look(key, known)) good(key, KnownHosts::load(known));
    if (!settings_.files.certificate.empty()) return;
    const std::string own = fmt::format("{}/{}", settings_.folder, host_key_file);
    if (!may_look(key, own)) return;
    const auto loaded = load_key(own);
    if (loaded || loaded.error().code != ErrorCode::not_found) good(key, loaded);
  }

  void check_authority() {
    const AuthorityFiles& files = settings_.files;
    if (files.authority.empty() || !may_look("trust.authority", files.authority)) return;
    if (!good("trust.authority", Authority::load(files.authority, ""))) return;
    if (files.revoked.empty() || !may_look("trust.revoked", files.revoked)) return;
    good("trust.revoked", Authority::load(files.authority, files.revoked));
  }

  void check_certificate() {
    const AuthorityFiles& files = settings_.files;
    if (files.certificate.empty() || files.key.empty()) return;
    if (!may_look("trust.key", files.key) || !good("trust.key", load_key(files.key))) return;
    if (!may_look("trust.certificate", files.certificate)) return;
    const auto identity = load_identity(files.certificate, files.key, settings_.host);
    if (good("trust.certificate", identity)) {
      good("trust.certificate", make_tls_context(*identity));
    }
  }

  const TrustSettings& settings_;
  std::vector<TrustFault> faults_;
};

}  // namespace

std::vector<TrustFault> check_trust_files(const TrustSettings& settings) {
  return FileCheck(settings).run();
}

}  // namespace farport
