#include "control/config/exports.h"

#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <vector>

namespace farport {
namespace {

const std::vector<std::string> camera = {"usb:046d:0825:ABC123", "usb:046d:0825", "usb:port:1-2.3"};

ExportRule rule(std::string device, std::vector<std::string> hosts = {},
                std::vector<std::string> users = {}, std::vector<std::string> vms = {},
                bool deny = false) {
  ExportRule rule;
  rule.origin = {"farport.toml", 12};
  rule.device = std::move(device);
  rule.hosts = std::move(hosts);
  rule.users = std::move(users);
  rule.vms = std::move(vms);
  rule.deny = deny;
  return rule;
}

Requester host(std::string name, std::string vm = "") {
  Requester requester;
  requester.host = std::move(name);
  requester.vm = std::move(vm);
  return requester;
}
Requester user(std::string name, uint32_t uid, std::vector<std::string> groups = {},
               std::string vm = "") {
  Requester requester;
  requester.user = std::move(name);
  requester.uid = uid;
  requester.groups = std::move(groups);
  requester.vm = std::move(vm);
  return requester;
}

struct Case {
  std::string name;
  std::vector<ExportRule> rules;
  Requester requester;
  bool allowed;
  std::string reason;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

class Exports : public testing::TestWithParam<Case> {};

TEST_P(Exports, Answer) {
  const Case& c = GetParam();
  const ExportAnswer answer = export_allowed(c.rules, camera, c.requester);
  EXPECT_EQ(answer.allowed, c.allowed) << answer.reason;
  EXPECT_EQ(answer.reason, c.reason);
}

const std::string allowed = "allowed by the rule at farport.toml:12";
const std::string none =
    "no [[export]] rule of the device's host names usb:046d:0825:ABC123: nothing is exported "
    "without one";
std::string not_to(const std::string& who) {
  return "the rule at farport.toml:12 exports usb:046d:0825:ABC123, but not to " + who;
}
std::string denied(const std::string& who) {
  return "denied to " + who + " by the rule at farport.toml:12";
}

INSTANTIATE_TEST_SUITE_P(
    Table, Exports,
    testing::Values(
        Case{"no rule", {}, host("west"), false, none},
        Case{"no rule, not even for root", {}, user("root", 0), false, none},
        Case{"a rule for another device", {rule("usb:dead:*", {"*"})}, host("west"), false, none},
        Case{"by name", {rule(camera[0], {"west"})}, host("west"), true, allowed},
        Case{"by alias", {rule("usb:port:1-2.3", {"west"})}, host("west"), true, allowed},
        Case{"by pattern", {rule("usb:046d:*", {"west"})}, host("west"), true, allowed},
        Case{"by pattern in upper case",
             {rule("USB:046D:*", {"west"})},
             host("west"),
             true,
             allowed},
        Case{"a pattern fits the whole name",
             {rule("usb:046d", {"west"})},
             host("west"),
             false,
             none},
        Case{"hosts by pattern", {rule("*", {"lab-*"})}, host("lab-3"), true, allowed},
        Case{"host names have a case",
             {rule("*", {"west"})},
             host("West"),
             false,
             not_to("host West")},
        Case{"another host", {rule("*", {"west"})}, host("east"), false, not_to("host east")},
        Case{"no hosts: no other host", {rule("*")}, host("west"), false, not_to("host west")},
        Case{"users are of this host",
             {rule("*", {}, {"user:ada"})},
             host("west"),
             false,
             not_to("host west")},
        Case{"user", {rule("*", {}, {"user:ada"})}, user("ada", 1000), true, allowed},
        Case{"another user",
             {rule("*", {}, {"user:ada"})},
             user("bob", 1001),
             false,
             not_to("user bob")},
        Case{"group",
             {rule("*", {}, {"group:usb"})},
             user("bob", 1001, {"bob", "usb"}),
             true,
             allowed},
        Case{"not in the group",
             {rule("*", {}, {"group:usb"})},
             user("bob", 1001, {"bob"}),
             false,
             not_to("user bob")},
        Case{"uid", {rule("*", {}, {"uid:1001"})}, user("", 1001), true, allowed},
        Case{"a longer uid",
             {rule("*", {}, {"uid:100"})},
             user("", 1001),
             false,
             not_to("uid 1001")},
        Case{"root needs no listing", {rule("*", {"west"})}, user("root", 0), true, allowed},
        Case{"root on another host is that host",
             {rule("*", {"west"})},
             [] {
               Requester requester = user("root", 0);
               requester.host = "east";
               return requester;
             }(),
             false,
             not_to("host east")},
        Case{"an unknown user",
             {rule("*", {}, {"user:"})},
             Requester{},
             false,
             not_to("an unknown user")},
        Case{"for a VM", {rule("*", {"west"}, {}, {"web*"})}, host("west", "web1"), true, allowed},
        Case{"for another VM",
             {rule("*", {"west"}, {}, {"web*"})},
             host("west", "db"),
             false,
             not_to("host west for VM db")},
        Case{"for no VM",
             {rule("*", {"west"}, {}, {"*"})},
             host("west"),
             false,
             not_to("host west")},
        Case{"VMs without hosts allow no host",
             {rule("*", {}, {}, {"web"})},
             host("west", "web"),
             false,
             not_to("host west for VM web")},
        Case{"the second rule",
             {rule("*", {"east"}), rule("*", {"west"})},
             host("west"),
             true,
             allowed},
        Case{"deny wins, after",
             {rule("*", {"west"}), rule("usb:046d:*", {}, {}, {}, true)},
             host("west"),
             false,
             denied("host west")},
        Case{"deny wins, before",
             {rule("usb:046d:*", {}, {}, {}, true), rule("*", {"west"})},
             host("west"),
             false,
             denied("host west")},
        Case{"deny everyone: root too",
             {rule("*", {"west"}), rule("*", {}, {}, {}, true)},
             user("root", 0),
             false,
             denied("user root")},
        Case{"deny one host",
             {rule("*", {"*"}), rule("*", {"east"}, {}, {}, true)},
             host("east"),
             false,
             denied("host east")},
        Case{"deny another host",
             {rule("*", {"*"}), rule("*", {"east"}, {}, {}, true)},
             host("west"),
             true,
             allowed},
        Case{"deny one user: not root",
             {rule("*", {}, {"user:bob"}), rule("*", {}, {"user:bob"}, {}, true)},
             user("root", 0),
             true,
             allowed},
        Case{"deny one VM",
             {rule("*", {"*"}), rule("*", {}, {}, {"db"}, true)},
             host("west", "db"),
             false,
             denied("host west for VM db")},
        Case{"deny one VM: another",
             {rule("*", {"*"}), rule("*", {}, {}, {"db"}, true)},
             host("west", "web"),
             true,
             allowed},
        Case{"a deny alone exports nothing",
             {rule("*", {"east"}, {}, {}, true)},
             host("west"),
             false,
             none}));

TEST(Exports, SerialPortsByPath) {
  const std::vector<std::string> port = {"serial:by-id/usb-FTDI_FT232R-if00-port0",
                                         "serial:ttyUSB0"};
  EXPECT_TRUE(export_allowed(std::vector{rule("serial:*", {"w"})}, port, host("w")).allowed);
  EXPECT_TRUE(export_allowed(std::vector{rule("serial:by-id/*", {"w"})}, port, host("w")).allowed);
  EXPECT_FALSE(export_allowed(std::vector{rule("usb:*", {"w"})}, port, host("w")).allowed);
  EXPECT_FALSE(export_allowed(std::vector{rule("*", {"w"})}, {}, host("w")).allowed);
}

}  // namespace
}  // namespace farport
