// The seam to whatever runs the VMs of this host. `none` (below) has no such thing and can only
// recommend; QMP and libvirt will move VMs. The fake is a class of the test's own.
//
// Thread rule: the control thread; callbacks come there, exactly once.
#pragma once

#include <functional>
#include <string>

#include "dataplane/error.h"

namespace farport {

class Hypervisor {
 public:
  virtual ~Hypervisor() = default;

  // "none", "qmp", "libvirt": for messages.
  virtual std::string name() const = 0;
  // Whether migrate() can do anything at all.
  virtual bool moves() const = 0;
  // Moves a running VM to another host; `done` when it runs there, or stayed here and why.
  virtual void migrate(const std::string& vm, const std::string& target,
                       std::function<void(Result<void>)> done) = 0;
};

class NoHypervisor final : public Hypervisor {
 public:
  std::string name() const override { return "none"; }
  bool moves() const override { return false; }
  void migrate(const std::string& vm, const std::string& target,
               std::function<void(Result<void>)> done) override {
    done(fail("this daemon moves no VMs (hypervisor \"none\"): move " + vm + " to " + target +
              " by hand"));
  }
};

}  // namespace farport
