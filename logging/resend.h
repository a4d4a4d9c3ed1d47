// What was written to a connection and may still be lost with it, for destinations that get no acknowledgement.
//
// A kernel takes bytes, acknowledges them to us, and throws them away when the program that should have read them ends:
// a write that succeeded says nothing. So the last RESEND_WINDOW bytes of a connection, of whole messages, count as written and
// not as arrived, until as many bytes more have been acknowledged or the connection has been quiet for RESEND_QUIET_MS with
// nothing unacknowledged (logging.md ). After a reset they are sent again: some may arrive twice, none is
// missing. No text is kept for that, only positions of the spool, where the text stays until it counts as arrived; the
// memory is the same for any number of messages.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RESEND_WINDOW ((uint64_t)64 << 10)
#define RESEND_QUIET_MS 2000
#define RESEND_STEP 4096 // bytes between two marks, more when much is under way
#define RESEND_MARKS 64

struct resend_mark {
	uint64_t wire;         // bytes written to this connection
	uint64_t position;     // of the spool: all before it is written
	uint64_t lines, bytes; // of containers, since the beginning
};
struct resend {
	struct resend_mark arrived; // counts as such
	struct resend_mark given;   // written
	struct resend_mark marks[RESEND_MARKS];
	unsigned first, count;
	uint64_t step;
};

void resend_init(struct resend *resend, uint64_t position);
// A message of so many bytes was written (0: it needed none); position is the one behind it.
void resend_given(struct resend *resend, size_t wire, uint64_t position, uint64_t lines, uint64_t bytes);
bool resend_waits(const struct resend *resend); // something was written and has not arrived
// How much of it counts as arrived: unacknowledged as connection_unacknowledged says, quiet if nothing was written for
// RESEND_QUIET_MS. True if `arrived` has moved.
bool resend_confirm(struct resend *resend, size_t unacknowledged, bool quiet);
// To be asked first, because between the two the caller makes sure that the peer has not ended the connection: what a peer
// threw away unread counts as acknowledged (connection_peer_ended).
bool resend_would_confirm(const struct resend *resend, size_t unacknowledged, bool quiet);
// The connection has ended: what was written and has not arrived is to be written again, from arrived.position. Returns
// its lines.
uint64_t resend_rewind(struct resend *resend);
