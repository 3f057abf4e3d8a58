// Runs one test of the kernel's usbtest driver on a device that it drives, in a lab guest.
//
//   usbtest NODE TEST [ITERATIONS LENGTH VARY SGLEN]    NODE as /dev/bus/usb/004/002
//
// The tests are numbered in the kernel's drivers/usb/misc/usbtest.c; the ioctl has no header for
// users. Exit status: 0 passed, 3 the driver or the device does not have this test, 1 failed.
#include <fcntl.h>
#include <linux/usbdevice_fs.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

// struct usbtest_param_32, usbtest.c.
struct Parameters {
  std::uint32_t test;
  std::uint32_t iterations;
  std::uint32_t length;
  std::uint32_t vary;
  std::uint32_t sglen;
  std::int32_t seconds;
  std::int32_t microseconds;
};
static_assert(sizeof(Parameters) == 28);

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  auto number = [&](int index, std::uint32_t otherwise) {
    return argc > index ? static_cast<std::uint32_t>(std::atoi(argv[index])) : otherwise;
  };
  Parameters parameters{
      number(2, 0), number(3, 10), number(4, 1024), number(5, 512), number(6, 8), 0, 0};
  int node = open(argv[1], O_RDWR);
  if (node < 0) {
    std::perror(argv[1]);
    return 1;
  }
  usbdevfs_ioctl request{0, static_cast<int>(_IOWR('U', 100, Parameters)), &parameters};
  // Tests of control OUT return the length of their last read where others return 0.
  if (ioctl(node, USBDEVFS_IOCTL, &request) >= 0) return 0;
  std::printf("test %u: %s\n", parameters.test, std::strerror(errno));
  return errno == EOPNOTSUPP ? 3 : 1;
}
