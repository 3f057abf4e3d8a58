// Keys and known_hosts on the disk: modes, owners, malformed lines, writing.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>

#include "control/trust/host_key.h"
#include "control/trust/host_trust.h"
#include "control/trust/known_hosts.h"
#include "control/trust/private_file.h"
#include "tests/unit/control/trust/certificates.h"

namespace farport::test {
namespace {

using testing::HasSubstr;

const std::string one_key = "SHA256:" + std::string(42, 'a') + "A";
const std::string two_key = "SHA256:" + std::string(42, 'b') + "A";

unsigned mode_of(const std::string& path) {
  struct stat status{};
  EXPECT_EQ(stat(path.c_str(), &status), 0) << path;
  return status.st_mode & 07777;
}
size_t files_in(const std::string& folder) {
  size_t count = 0;
  for ([[maybe_unused]] const auto& one : std::filesystem::directory_iterator(folder)) ++count;
  return count;
}

TEST(HostKey, IsMadeOnceAndForNobodyElse) {
  const TemporaryFolder folder;
  const mode_t before = umask(0);  // nothing but the code itself protects it
  const auto made = HostTrust::open({"west", folder / "trust", {}, {}});
  umask(before);
  ASSERT_TRUE(made.has_value()) << made.error().message;
  EXPECT_EQ(mode_of(folder / "trust"), 0700u);
  EXPECT_EQ(mode_of(folder / "trust/host_key"), 0600u);
  EXPECT_EQ(files_in(folder / "trust"), 1u) << "nothing unfinished is left";
  EXPECT_TRUE(is_fingerprint((*made)->fingerprint()));
  const auto again = HostTrust::open({"west", folder / "trust", {}, {}});
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ((*again)->fingerprint(), (*made)->fingerprint());
}

TEST(HostKey, IsNeverReadableWhileItIsMade) {
  const TemporaryFolder folder;
  const mode_t before = umask(0);
  unsigned mode = 0;
  const auto written = write_private(folder / "key", Existing::keep, [&](int file) -> Result<void> {
    struct stat status{};
    fstat(file, &status);
    mode = status.st_mode & 07777;
    EXPECT_FALSE(std::filesystem::exists(folder / "key")) << "named before it is whole";
    return {};
  });
  umask(before);
  EXPECT_TRUE(written.has_value());
  EXPECT_EQ(mode, 0600u);
}

TEST(HostKey, ModesThatLetOthersInAreRefused) {
  const TemporaryFolder folder;
  ASSERT_TRUE(HostTrust::open({"west", folder / "trust", {}, {}}).has_value());
  const struct {
    std::string file;
    unsigned mode;
    std::string says;
  } cases[] = {
      {"host_key", 0640, "chmod 600"},
      {"host_key", 0604, "chmod 600"},
      {"host_key", 0620, "chmod 600"},
      {"known_hosts", 0620, "chmod go-w"},
      {"known_hosts", 0602, "chmod go-w"},
      {"", 0770, "chmod 700"},
      {"", 0707, "chmod 700"},
  };
  write_file(folder / "trust/known_hosts", "");
  for (const auto& one : cases) {
    const std::string path = folder / ("trust/" + one.file);
    const unsigned before = mode_of(path);
    ASSERT_EQ(chmod(path.c_str(), one.mode), 0);
    const auto opened = HostTrust::open({"west", folder / "trust", {}, {}});
    ASSERT_FALSE(opened.has_value()) << one.file << " " << one.mode;
    EXPECT_EQ(opened.error().code, ErrorCode::denied);
    EXPECT_THAT(opened.error().message, HasSubstr(one.says));
    ASSERT_EQ(chmod(path.c_str(), before), 0);
  }
  ASSERT_EQ(chmod((folder / "trust/known_hosts").c_str(), 0644), 0);
  EXPECT_TRUE(HostTrust::open({"west", folder / "trust", {}, {}}).has_value());
}

TEST(HostKey, AnothersFileIsRefused) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can give a file away";
  const TemporaryFolder folder;
  ASSERT_TRUE(HostTrust::open({"west", folder / "trust", {}, {}}).has_value());
  // Root trusts root's files alone.
  ASSERT_EQ(chown((folder / "trust/host_key").c_str(), 12345, 12345), 0);
  const auto opened = HostTrust::open({"west", folder / "trust", {}, {}});
  ASSERT_FALSE(opened.has_value());
  EXPECT_THAT(opened.error().message, HasSubstr("belongs to user 12345"));
}

TEST(HostKey, WhatIsNoKeyIsRefusedAndKept) {
  const TemporaryFolder folder;
  ASSERT_TRUE(make_private_folder(folder / "trust").has_value());
  const std::string path = folder / "trust/host_key";
  for (const std::string text : {"", "not a key\n", "-----BEGIN PRIVATE KEY-----\nQUJD\n"}) {
    write_file(path, text);
    const auto opened = HostTrust::open({"west", folder / "trust", {}, {}});
    ASSERT_FALSE(opened.has_value()) << text;
    EXPECT_THAT(opened.error().message, HasSubstr("is not a private key"));
    EXPECT_EQ(read_file(path), text) << "a key is never replaced by itself";
  }
  std::filesystem::remove(path);
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  EXPECT_FALSE(HostTrust::open({"west", folder / "trust", {}, {}}).has_value());
}

TEST(HostKey, APassphraseIsNotAskedFor) {
  const TemporaryFolder folder;
  const UniqueKey key = new_key();
  write_file(folder / "key", pem([&](BIO* bio) {
               return PEM_write_bio_PKCS8PrivateKey(bio, key.get(), EVP_aes_128_cbc(), "secret", 6,
                                                    nullptr, nullptr);
             }));
  const auto loaded = load_key(folder / "key");
  ASSERT_FALSE(loaded.has_value());
  EXPECT_THAT(loaded.error().message, HasSubstr("passphrase"));
}

TEST(Fingerprint, IsOfTheKeyAndNotOfTheCertificate) {
  const UniqueKey key = new_key();
  const auto certificate = self_signed(*key, "west");
  ASSERT_TRUE(certificate.has_value());
  EXPECT_EQ(fingerprint_of(**certificate), fingerprint_of(*key));
  EXPECT_NE(fingerprint_of(*new_key()), fingerprint_of(*key));
}

// openssl pkey -pubout -outform DER | openssl dgst -sha256 -binary | base64, of RFC 8410's key.
TEST(Fingerprint, IsWhatOpensslAndBase64Say) {
  const std::string public_key =
      "-----BEGIN PUBLIC KEY-----\n"
      "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"
      "-----END PUBLIC KEY-----\n";
  const UniqueBio bio(BIO_new_mem_buf(public_key.data(), static_cast<int>(public_key.size())));
  const UniqueKey key(PEM_read_bio_PUBKEY(bio.get(), nullptr, nullptr, nullptr));
  ASSERT_NE(key, nullptr);
  EXPECT_EQ(fingerprint_of(*key), "SHA256:oekVYFTgT6yJmunydRMs3Ael28TqLCrTof/G4NJTaB8");
}

TEST(Fingerprint, OnlyWholeOnesAreTaken) {
  EXPECT_TRUE(is_fingerprint(one_key));
  const std::string cases[] = {
      "",
      "SHA256:",
      one_key.substr(7),
      one_key.substr(0, 49),
      one_key + "A",
      one_key + "=",
      "sha256:" + one_key.substr(7),
      "MD5:" + one_key.substr(7),
      "SHA256:" + std::string(42, 'a') + "B",  // more bits than a digest has
      "SHA256:" + std::string(42, '-') + "A",
      " " + one_key,
  };
  for (const std::string& text : cases) EXPECT_FALSE(is_fingerprint(text)) << text;
}

TEST(KnownHosts, KeepsWhatPeopleWrote) {
  const std::string text =
      "# our hosts\n\nwest " + one_key + "  the one in the cellar\n  east\t" + two_key + "\n";
  auto known = KnownHosts::parse(text, "known_hosts");
  ASSERT_TRUE(known.has_value()) << known.error().message;
  EXPECT_EQ(known->text(), text);
  ASSERT_EQ(known->keys().size(), 2u);
  EXPECT_EQ(known->keys()[0].comment, "the one in the cellar");
  EXPECT_EQ(known->name_of(two_key), "east");
  EXPECT_EQ(known->remove("west"), 1u);
  EXPECT_EQ(known->text(), "# our hosts\n\n  east\t" + two_key + "\n");
  EXPECT_EQ(known->remove("west"), 0u);
}

TEST(KnownHosts, ANameHasSeveralKeysAndAKeyOneName) {
  KnownHosts known;
  EXPECT_TRUE(known.add({"west", one_key, ""}).value());
  EXPECT_TRUE(known.add({"west", two_key, "next year's"}).value());
  EXPECT_FALSE(known.add({"west", one_key, ""}).value()) << "it is there already";
  EXPECT_EQ(known.add({"east", one_key, ""}).error().code, ErrorCode::denied);
  EXPECT_EQ(known.keys_of("west").size(), 2u);
  EXPECT_EQ(known.remove("west", two_key), 1u);
  EXPECT_EQ(known.text(), "west " + one_key + "\n");
}

TEST(KnownHosts, ACommentStaysOnItsLine) {
  KnownHosts known;
  ASSERT_TRUE(known.add({"west", one_key, "a\nnorth " + two_key}).has_value());
  const auto again = KnownHosts::parse(known.text(), "known_hosts");
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(again->keys().size(), 1u);
}

TEST(KnownHosts, MalformedLinesAreNamed) {
  const struct {
    std::string line, says;
  } cases[] = {
      {"west", "is not a fingerprint"},
      {"west SHA256:abc", "is not a fingerprint"},
      {one_key + " west", "is not a fingerprint"},
      {"lab/west " + one_key, "is not a host's name"},
      {"-west " + one_key, "is not a host's name"},
      {"we\x01st " + one_key, "is not a host's name"},
      {"w\xc3\xa9st " + one_key, "is not a host's name"},
      {std::string(254, 'w') + " " + one_key, "is not a host's name"},
      {"east " + two_key, "is the key of host west"},
      {std::string("we\0st ", 6) + one_key, "is not a host's name"},
  };
  for (const auto& one : cases) {
    const auto known = KnownHosts::parse("# a\nwest " + two_key + "\n" + one.line + "\n", "file");
    ASSERT_FALSE(known.has_value()) << one.line;
    EXPECT_THAT(known.error().message, HasSubstr("file:3: ")) << one.line;
    EXPECT_THAT(known.error().message, HasSubstr(one.says)) << one.line;
    EXPECT_EQ(known.error().message.find('\x01'), std::string::npos);
  }
}

TEST(KnownHosts, AFileTooLargeIsNotRead) {
  const TemporaryFolder folder;
  write_file(folder / "known_hosts", std::string(KnownHosts::bytes_max + 1, '#'));
  EXPECT_THAT(KnownHosts::load(folder / "known_hosts").error().message, HasSubstr("too large"));
}

TEST(KnownHosts, IsReplacedAtOnce) {
  const TemporaryFolder folder;
  const std::string path = folder / "known_hosts";
  write_file(path, "west " + one_key + "\n");
  const FileDescriptor before(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  auto known = KnownHosts::load(path);
  ASSERT_TRUE(known.has_value());
  ASSERT_TRUE(known->add({"east", two_key, ""}).value());
  ASSERT_TRUE(known->save(path).has_value());
  EXPECT_EQ(read_file(path), known->text());
  EXPECT_EQ(mode_of(path), 0600u);
  // Who had it open reads the old one whole: it was not written over.
  std::string old(200, '\0');
  old.resize(static_cast<size_t>(pread(before.get(), old.data(), old.size(), 0)));
  EXPECT_EQ(old, "west " + one_key + "\n");
  EXPECT_EQ(files_in(folder / ""), 1u);
}

TEST(KnownHosts, AFailedWritingLeavesTheOldOne) {
  const TemporaryFolder folder;
  const std::string path = folder / "known_hosts";
  write_file(path, "west " + one_key + "\n");
  const auto written = write_private(path, Existing::replace,
                                     [](int) -> Result<void> { return fail("the disk is full"); });
  EXPECT_FALSE(written.has_value());
  EXPECT_EQ(read_file(path), "west " + one_key + "\n");
  EXPECT_EQ(files_in(folder / ""), 1u);
}

// --- what a start would refuse, without a start ---

class TrustFiles : public testing::Test {
 protected:
  TrustFiles() {
    std::filesystem::create_directory(folder_ / "trust");
    chmod((folder_ / "trust").c_str(), 0700);
    settings_ = {"west", folder_ / "trust", {}, {}};
  }
  std::string write(const std::string& name, const std::string& text, mode_t mode = 0600) {
    std::ofstream(folder_ / name) << text;
    chmod((folder_ / name).c_str(), mode);
    return folder_ / name;
  }
  // Everything that is there, with its text.
  std::map<std::string, std::string> seen() const {
    std::map<std::string, std::string> all;
    for (const auto& one : std::filesystem::recursive_directory_iterator(folder_ / "")) {
      all[one.path()] = one.is_regular_file() ? read_file(one.path()) : "";
    }
    return all;
  }
  // It finds this one fault and changes nothing; a start says the same.
  void finds(const std::string& key, const std::string& words) {
    const auto before = seen();
    const auto faults = check_trust_files(settings_);
    ASSERT_EQ(faults.size(), 1u) << words;
    EXPECT_EQ(faults[0].key, key);
    EXPECT_THAT(faults[0].message, HasSubstr(words));
    EXPECT_FALSE(faults[0].unseen);
    EXPECT_EQ(seen(), before);
    const auto started = HostTrust::open(settings_);
    ASSERT_FALSE(started.has_value());
    EXPECT_EQ(started.error().message, faults[0].message);
  }

  TemporaryFolder folder_;
  TrustSettings settings_;
  TestAuthority authority_;
};

TEST_F(TrustFiles, NothingIsMadeWhereNothingIs) {
  settings_.folder = folder_ / "none/trust";
  EXPECT_TRUE(check_trust_files(settings_).empty());
  EXPECT_FALSE(std::filesystem::exists(folder_ / "none"));
  settings_.folder = folder_ / "trust";
  EXPECT_TRUE(check_trust_files(settings_).empty());
  EXPECT_EQ(files_in(folder_ / "trust"), 0u);
}

TEST_F(TrustFiles, TheLineOfAPinnedKeyIsNamed) {
  write("trust/known_hosts", "# mine\nlab " + one_key + "\nshed SHA256:short\n");
  finds("host.state_dir", folder_ / "trust/known_hosts:3: ");
}

TEST_F(TrustFiles, AKeyThatOthersMayReadIsFound) {
  write("trust/host_key", pem_of(*new_key()), 0640);
  finds("host.state_dir", "chmod 600 " + folder_ / "trust/host_key");
}

TEST_F(TrustFiles, SoAreAFolderThatOthersMayWriteAndAKeyThatIsNone) {
  write("trust/host_key", "no key");
  finds("host.state_dir", "is not a private key");
  std::filesystem::remove(folder_ / "trust/host_key");
  chmod((folder_ / "trust").c_str(), 0777);
  finds("host.state_dir", "chmod 700");
}

TEST_F(TrustFiles, AnAuthoritysFilesMustBeThereAndWhole) {
  settings_.files.authority = folder_ / "authority.pem";
  finds("trust.authority", "cannot open " + folder_ / "authority.pem");
  const std::string good = authority_.certificate();
  write("authority.pem", "a comment\n" + good + "\n-----BEGIN CERTIFICATE-----\n????\n");
  const auto lines = std::ranges::count(good, '\n') + 3;
  finds("trust.authority", fmt::format("authority.pem:{}: ", lines));
  write("authority.pem", good);
  settings_.files.revoked = write("revoked.pem", good);
  finds("trust.revoked", "revoked.pem: expected lists of revoked certificates in PEM, found none");
  write("revoked.pem", authority_.revoke({}));
  EXPECT_TRUE(check_trust_files(settings_).empty());
}

TEST_F(TrustFiles, ACertificateMustNameThisHostAndItsKey) {
  const Issued issued = authority_.issue({.names = "DNS:east"});
  settings_.files.certificate = write("west.pem", pem_of(*issued.certificate));
  settings_.files.key = write("west.key", pem_of(*new_key()));
  finds("trust.certificate", "is not the key of the first certificate");
  write("west.key", pem_of(*issued.key));
  finds("trust.certificate", "does not name this host");
  write("west.key", pem_of(*issued.key), 0644);
  finds("trust.key", "chmod 600");
}

TEST_F(TrustFiles, EveryFaultIsTold) {
  write("trust/known_hosts", "lab\n");
  write("trust/host_key", pem_of(*new_key()), 0604);
  settings_.files.authority = folder_ / "authority.pem";
  EXPECT_EQ(check_trust_files(settings_).size(), 3u);
}

}  // namespace
}  // namespace farport::test
