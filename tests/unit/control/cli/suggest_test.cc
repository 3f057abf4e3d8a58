#include "control/cli/suggest.h"

#include <gtest/gtest.h>

namespace farport {
namespace {

TEST(EditDistance, CountsWhatIsToBeChanged) {
  EXPECT_EQ(edit_distance("", ""), 0u);
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("abc", ""), 3u);
  EXPECT_EQ(edit_distance("devices", "devices"), 0u);
  EXPECT_EQ(edit_distance("devises", "devices"), 1u);
  EXPECT_EQ(edit_distance("lba", "lab"), 1u);  // a swap
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
  EXPECT_EQ(edit_distance("LAB", "lab"), 0u);
}

TEST(EditDistance, IsSymmetricAndBounded) {
  const std::string words[] = {
      "", "a", "usb:1d6b:0104:STICK", "serial:ttyUSB0", "attach", std::string(5000, 'x')};
  for (const auto& a : words) {
    for (const auto& b : words) EXPECT_EQ(edit_distance(a, b), edit_distance(b, a));
  }
}

TEST(Nearest, IsTheOneThatWasMeant) {
  const std::vector<std::string> names{"lab/usb:1d6b:0104:STICK", "lab/serial:SCALE",
                                       "desk/serial:ttyS0"};
  EXPECT_EQ(nearest("lab/usb:1d6b:0104:STCIK", names), names[0]);
  EXPECT_EQ(nearest("lba/serial:SCALE", names), names[1]);
  EXPECT_EQ(nearest("LAB/SERIAL:SCALE", names), names[1]);
  EXPECT_EQ(nearest("STICK", names), names[0]);  // the only one that contains it
  EXPECT_EQ(nearest("serial", names), "");       // two do
  EXPECT_EQ(nearest("printer", names), "");
  EXPECT_EQ(nearest("", names), "");
  EXPECT_EQ(nearest("anything", {}), "");
}

TEST(Nearest, ShortNamesMustBeNearly) {
  const std::vector<std::string> names{"att-1", "hosts", "vms"};
  EXPECT_EQ(nearest("att-2", names), "att-1");
  EXPECT_EQ(nearest("vm", names), "vms");
  EXPECT_EQ(nearest("xyz", names), "");
}

TEST(DidYouMean, SaysItOrNothing) {
  const std::vector<std::string> names{"devices"};
  EXPECT_EQ(did_you_mean("devise", names), "; did you mean devices?");
  EXPECT_EQ(did_you_mean("zzz", names), "");
}

}  // namespace
}  // namespace farport
