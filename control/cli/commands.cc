#include <array>

#include "control/cli/cli.h"

namespace farport {

namespace {

constexpr std::array kCommands{
    Command{"devices", define_devices, "List the devices of this host and of its peers"},
    Command{"attach", define_attach, "Use a device of another host here"},
    Command{"detach", define_detach, "Give a device back"},
    Command{"attachments", define_attachments, "List what is attached here"},
    Command{"stats", define_stats, "Show what each attachment moves and what it needs"},
    Command{"decisions", define_decisions, "Show where VMs should run, and why"},
    Command{"hosts", define_hosts, "List this host and its peers"},
    Command{"vms", define_vms, "List the VMs with their allocations and demands"},
    Command{"events", define_events, "Show what happened, and follow what happens"},
    Command{"trust", define_trust, "Show and change which hosts are let in"},
    Command{"doctor", define_doctor, "Find out why something does not work"},
    Command{"check-config", define_check_config, "Check a configuration, or describe its keys"},
    Command{"version", define_version, "Show the versions of this program and of the daemon"},
};

}  // namespace

std::span<const Command> commands() { return kCommands; }

}  // namespace farport
