// Records raw 16-bit mono at 48 kHz from a sound card to standard output, in a lab guest.
//
//   record /dev/dsp BYTES > SAMPLES
//
// Exit status 0: so many came.
#include <fcntl.h>
#include <linux/soundcard.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  int card = open(argv[1], O_RDONLY);
  int format = AFMT_S16_LE, channels = 1, rate = 48000;
  if (card < 0 || ioctl(card, SNDCTL_DSP_SETFMT, &format) ||
      ioctl(card, SNDCTL_DSP_CHANNELS, &channels) || ioctl(card, SNDCTL_DSP_SPEED, &rate)) {
    std::perror(argv[1]);
    return 1;
  }
  if (format != AFMT_S16_LE || channels != 1 || rate != 48000) {
    std::fprintf(stderr, "%s records otherwise\n", argv[1]);
    return 1;
  }
  char samples[4 << 10];
  for (long left = std::atol(argv[2]); left > 0;) {
    ssize_t n = read(card, samples, sizeof samples);
    if (n <= 0) {
      std::perror("read");
      return 1;
    }
    if (write(1, samples, static_cast<size_t>(n)) != n) return 1;
    left -= n;
  }
  return 0;
}
