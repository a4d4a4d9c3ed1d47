// What was written to a connection and may still be lost with it, for destinations that get no acknowledgement.
//
// A peer's kernel acknowledges bytes, and throws away what its program has not read when that ends: a write that succeeded says
// nothing. So what was written counts as arrived when it is acknowledged and
//   - nearly everything that can wait unread at the peer was written after it (`far`), or
//   - it was written RESEND_MS ago, and the peer's receive window is open: its program reads what comes; or
//   - it was written RESEND_MS ago, and twice the largest window that the peer ever had was written after it.
// At the end of a connection all that has not arrived by this reckoning is written to the next one: lines may arrive twice, none is
// missing. That is more than the 64 KiB of logging.md where a peer is slow: a Linux peer's buffer takes
// 128 KiB at first and up to 6 MiB. No text is kept for it, only positions of the spool, where the text stays until then;
// the memory is the same for any number of messages.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RESEND_MS 2000                   // loop time
#define RESEND_NEAR ((uint64_t)64 << 10) // where the kernel knows what is unread (Unix sockets), or nobody (UDP)
#define RESEND_FAR ((uint64_t)8 << 20)   // TCP: more than net.ipv4.tcp_rmem lets wait at the peer
#define RESEND_STEP 4096                 // bytes between two marks, or
#define RESEND_STEP_MS 250               // time; both grow when much is under way
#define RESEND_MARKS 64

struct resend_mark {
	uint64_t wire;         // bytes written to this connection
	uint64_t position;     // of the spool: all before it is written
	uint64_t lines, bytes; // of containers, since the beginning
	uint64_t since, time;  // when its first and its last message were written
};
struct resend {
	uint64_t far;
	struct resend_mark arrived; // counts as such
	struct resend_mark given;   // written
	struct resend_mark marks[RESEND_MARKS];
	unsigned first, count;
	uint64_t coarse; // so many times RESEND_STEP and RESEND_STEP_MS are between two marks
};

void resend_init(struct resend *resend, uint64_t position);
// A message of so many bytes was written (0: it needed none); position is the one behind it.
void resend_given(struct resend *resend, uint64_t now, size_t wire, uint64_t position, uint64_t lines, uint64_t bytes);
bool resend_waits(const struct resend *resend); // something was written and has not arrived

// What is known of the connection.
struct resend_look {
	uint64_t now;               // loop time
	size_t unacknowledged;      // connection_unacknowledged
	size_t window, window_most; // connection_window
	bool at_end;                // the connection is ended in order by us: what is acknowledged will be read
};
// Worth a look: that costs system calls.
bool resend_ripe(const struct resend *resend, uint64_t now);
// True if something more would count as arrived. Between this and resend_confirm the caller makes sure that the peer has not ended
// the connection, as what it threw away unread counts as acknowledged on Unix sockets (connection_peer_ended).
bool resend_would_confirm(const struct resend *resend, const struct resend_look *look);
void resend_confirm(struct resend *resend, const struct resend_look *look); // moves `arrived`
// The connection has ended: what was written and has not arrived is to be written again, from arrived.position. Returns
// its lines.
uint64_t resend_rewind(struct resend *resend);
