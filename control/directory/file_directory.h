// The directory that needs nothing: peers and VMs as the configuration lists them.
#pragma once

#include <utility>

#include "control/directory/directory.h"

namespace farport {

class FileDirectory final : public Directory {
 public:
  std::string name() const override { return "file"; }
  std::vector<DirectoryHost> hosts() const override { return hosts_; }
  std::vector<DirectoryVm> vms() const override { return vms_; }
  void on_change(std::function<void()> changed) override { changed_ = std::move(changed); }

  // What a configuration, read or read again, says.
  void set(std::vector<DirectoryHost> hosts, std::vector<DirectoryVm> vms) {
    if (hosts == hosts_ && vms == vms_) return;
    hosts_ = std::move(hosts);
    vms_ = std::move(vms);
    if (changed_) changed_();
  }

 private:
  std::vector<DirectoryHost> hosts_;
  std::vector<DirectoryVm> vms_;
  std::function<void()> changed_;
};

}  // namespace farport
