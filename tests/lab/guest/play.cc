// Plays raw 16-bit stereo at 48 kHz from standard input on a sound card, in a lab guest.
//
//   play /dev/dsp < SAMPLES
//
// Exit status 0: the card took everything.
#include <fcntl.h>
#include <linux/soundcard.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  int card = open(argv[1], O_WRONLY);
  int format = AFMT_S16_LE, channels = 2, rate = 48000;
  if (card < 0 || ioctl(card, SNDCTL_DSP_SETFMT, &format) ||
      ioctl(card, SNDCTL_DSP_CHANNELS, &channels) || ioctl(card, SNDCTL_DSP_SPEED, &rate)) {
    std::perror(argv[1]);
    return 1;
  }
  char samples[16 << 10];
  for (ssize_t size; (size = read(0, samples, sizeof samples)) > 0;) {
    for (ssize_t done = 0; done < size;) {
      ssize_t n = write(card, samples + done, static_cast<std::size_t>(size - done));
      if (n <= 0) {
        std::perror("write");
        return 1;
      }
      done += n;
    }
  }
  return ioctl(card, SNDCTL_DSP_SYNC, 0) == 0 && close(card) == 0 ? 0 : 1;
}
