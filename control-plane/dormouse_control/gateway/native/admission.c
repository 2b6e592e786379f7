/* Lets calls through by decisions that the authorizer made, as admission.lua does.
 *
 * The decisions stand in a file that both have mapped into memory; `slots.py` says what is where,
 * and the compiler is given its numbers. Each worker takes permits of its own, so nobody else
 * writes where it writes.
 */
#define _GNU_SOURCE /* O_CLOEXEC */
#include "admission.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "sha256.h"

#define UNKNOWN (-2)

static double *decisions; /* NULL as long as there is no file */

bool have_decisions(const char *path) {
  if (__atomic_load_n(&decisions, __ATOMIC_ACQUIRE)) return true;
  int file = open(path, O_RDWR | O_CLOEXEC);
  if (file < 0) return false;
  size_t length = FILE_WORDS * sizeof(double);
  /* Reading behind the end of a file that is being made would kill us. */
  bool whole = lseek(file, 0, SEEK_END) >= (off_t)length;
  void *found = MAP_FAILED;
  if (whole) found = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (found == MAP_FAILED) return false;
  /* Two workers may come here at once: both mappings are good, and one is kept for nothing. */
  __atomic_store_n(&decisions, found, __ATOMIC_RELEASE);
  return true;
}

static double word(size_t index) {
  double value;
  __atomic_load(decisions + index, &value, __ATOMIC_ACQUIRE);
  return value;
}

/* Envoy calls its threads wrk:worker_0, wrk:worker_1 and so on; -1 for any other. */
static int worker(void) {
  static __thread int known = UNKNOWN;
  if (known != UNKNOWN) return known;
  char name[17] = {0};
  int number = -1;
  known = -1;
  const char *end = prctl(PR_GET_NAME, name) == 0 ? strstr(name, "worker_") : NULL;
  if (end && sscanf(end, "worker_%d", &number) == 1 && number >= 0 && number < MAX_WORKERS)
    known = number;
  return known;
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_REALTIME, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static uint8_t *joined(uint8_t *to, struct text text) {
  memcpy(to, text.at, text.length);
  return to + text.length;
}

static void digest_of(const struct call *call, uint8_t digest[SHA256_BYTES]) {
  uint8_t identity[MAX_CREDENTIAL + MAX_PATH + MAX_PRIORITY + MAX_MODEL + 3];
  uint8_t *end = joined(identity, call->credential);
  *end++ = '\n';
  end = joined(end, call->path);
  *end++ = '\n';
  end = joined(end, call->priority);
  *end++ = '\n';
  end = joined(end, call->model);
  sha256(identity, (size_t)(end - identity), digest);
}

/* Index of the slot that `digest` has; FILE_WORDS if it has none. */
static size_t slot_of(const uint8_t *digest) {
  uint32_t first = (uint32_t)digest[0] | (uint32_t)digest[1] << 8 | (uint32_t)digest[2] << 16 |
                   (uint32_t)digest[3] << 24;
  for (uint32_t probe = 0; probe < PROBES; probe++) {
    size_t at = (size_t)((first % SLOTS + probe) % SLOTS) * WORDS;
    if (word(at + VERSION) != 0 && memcmp(decisions + at + DIGEST, digest, DIGEST_BYTES) == 0)
      return at;
  }
  return FILE_WORDS;
}

struct lengths {
  size_t token, address, prefix, middle, suffix;
};

/* Of the parts of a slot's text; false if they are none. */
static bool lengths_of(size_t at, struct lengths *lengths) {
  const size_t where[] = {TOKEN_LENGTH, ADDRESS_LENGTH, PREFIX_LENGTH, MIDDLE_LENGTH,
                          SUFFIX_LENGTH};
  size_t found[5], sum = 0;
  for (int i = 0; i < 5; i++) {
    double length = word(at + where[i]);
    if (!(length >= 0 && length <= TEXT_BYTES)) return false;
    sum += found[i] = (size_t)length;
  }
  *lengths = (struct lengths){found[0], found[1], found[2], found[3], found[4]};
  return sum <= TEXT_BYTES;
}

static void write_limits(struct admitted *admitted, struct lengths lengths, double left,
                         double tokens) {
  char said[32] = "";
  if (tokens >= 0) snprintf(said, sizeof said, "%.0f", tokens);
  const char *prefix = admitted->held + lengths.token + lengths.address;
  const char *middle = prefix + lengths.prefix, *suffix = middle + lengths.middle;
  int length = snprintf(admitted->written, sizeof admitted->written, "%.*s%.0f%.*s%s%.*s",
                        (int)lengths.prefix, prefix, left, (int)lengths.middle, middle, said,
                        (int)lengths.suffix, suffix);
  admitted->limits = (struct text){admitted->written, (size_t)length};
}

bool admit(const struct call *call, struct admitted *admitted) {
  int me = worker();
  if (me < 0 || !decisions) return false;
  uint8_t digest[SHA256_BYTES];
  digest_of(call, digest);
  size_t at = slot_of(digest);
  struct lengths lengths;
  if (at == FILE_WORDS) return false;
  double version = word(at + VERSION), time = now();
  double taken = word(at + TAKEN + (size_t)me) + 1;
  double left = word(at + ALLOWED + (size_t)me) - taken;
  if (version == 0 || !lengths_of(at, &lengths) || left < 0 || call->bytes > word(at + MAX_BYTES) ||
      time >= word(at + UNTIL) || time >= word(ALIVE_UNTIL))
    return false;
  memcpy(admitted->held, decisions + at + TEXT, TEXT_BYTES);
  double rest = word(at + REST), tokens = word(at + TOKENS_REST);
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  /* Written meanwhile, it may have become another's. */
  if (slot_of(digest) != at || word(at + VERSION) != version) return false;
  __atomic_store(decisions + at + TAKEN + (size_t)me, &taken, __ATOMIC_RELEASE);
  admitted->token = (struct text){admitted->held, lengths.token};
  admitted->address = (struct text){admitted->held + lengths.token, lengths.address};
  write_limits(admitted, lengths, left + rest, tokens);
  return true;
}
