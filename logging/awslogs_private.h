// What the two parts of the awslogs destination share: awslogs.c (start, states, making the stream) and awslogs_put.c
// (batches and what the service says of them).
#pragma once

#include "logging/cloudwatch.h"
#include "logging/destination.h"
#include "logging/lines.h"
#include "logging/put_batch.h"

#define AWSLOGS_HOLD_MS 60000 // after a refusal

struct regex;

// What the stream waits for.
enum state {
	IDLE,   // items, or the flush timer
	REGION, // to be found out
	TURN,   // the service has failed (cloudwatch.h)
	POOL,   // memory
	CALL,   // an answer
	PAUSE,  // refused: later
};

struct destination {
	const struct destination_host *host;
	const struct log_options_awslogs *options;
	const char *stream; // its name
	bool non_blocking;
	struct spool *spool;
	struct delivery *delivery;
	struct cloudwatch_region region;
	struct cloudwatch_service *service; // NULL: the region is not known yet
	struct cloudwatch_turn turn;
	struct aws_call *call;
	enum state state;
	struct timer flush, pause;
	bool due;        // send what there is
	bool made;       // the stream exists, or is not ours to make
	bool group_made; // the group was missing and has been made
	bool missing;    // the stream was made again because it was missing, and nothing was accepted since
	bool renewed;    // the credentials were refused and replaced, and nothing was accepted since
	bool proven;     // the service knows these names: it can only mean the events when it refuses some
	char *token;     // the sequence token that the service asked for; NULL: it does not, as today
	bool token_tried;

	struct regex *pattern;
	bool pattern_failed; // it took too much work for a line, which was logged
	struct lines *lines;
	struct spool_reader *reader;
	bool reread;             // before anything else: lines and reader go to the mark
	struct lines_mark mark;  // behind what was accepted
	struct lines_mark after; // behind the batch
	struct put_batch batch;
	struct pool_user memory;
	size_t batch_memory;          // that a batch under way needs
	size_t max_events, max_bytes; // of a batch: less than the service's after refusals and timeouts
	uint64_t spool_bytes;         // when the last batch was read
	int64_t now_ms;               // when it was read, by the service's clock
	int64_t hold_ms;              // the next event is so far in the future; 0: not
	uint64_t last;                // item behind which nothing of the batch comes
	uint64_t old_lines;           // of the batch's part of the spool, too old to be sent
	uint64_t collecting;          // the item an open event begins with, and
	uint64_t collecting_since;    // when it was first seen: loop time, 0: none is
	// A batch of which the newer part was refused for its times: of the items before again_last those older than again_ms
	// are done. 0: none.
	uint64_t again_last;
	int64_t again_ms;
	// Events that were refused one by one (suspect()), where they begin, and how often they have been tried in vain.
	unsigned suspects, rounds;
	uint64_t suspect_lines;
	struct lines_mark suspect_mark;
	unsigned trials;          // of them are left to be tried once more, since another was accepted
	struct lines_mark resume; // behind that one

	void (*answer)(const struct error *refusal, void *arg); // of ask(); NULL: nobody waits
	void *answer_arg;
	struct timer ask;
};

// The next step, in a turn of its own; or after a while, somewhat longer than ms.
void awslogs_go_on(struct destination *d);
void awslogs_pause(struct destination *d, uint64_t ms);
// Everything read and not accepted is read again later.
void awslogs_forget(struct destination *d);
// Gives back all memory but what the batch under way and unfinished events need.
void awslogs_keep_memory(struct destination *d);
// Items have come, or are left: when they are sent.
void awslogs_schedule(struct destination *d);
// Reads a batch, with memory for it, and sends it.
void awslogs_send(struct destination *d);
