// Plays random sequences against the engine and shrinks what fails.
//
//   model [-s SEED] [-n N]    N sequences from SEED on; 1 if one fails
//   model -q NUMBER [-t]      the sequence of that number, traced with -t
//   model [-t] FILE...        printed sequences
//   model -m                  self-test: each mutation is found by its invariant and shrinks to a short sequence
#include "hooks.h"
#include "invariants.h"
#include "world.h"

#include "common/util.h"
#include <time.h>

enum {
	SELF_TEST_SEQUENCES = 20000, // in which a mutation must be found
	SHORT_STEPS = 16,            // of a shrunk one; the longest needed is about half of it
};

struct expectation {
	const char *invariant;
	int mutation;
};

static bool fails(const struct sequence *sequence, void *arg)
{
	const struct expectation *e = arg;
	char detail[256];
	return str_equal(world_play(sequence, e->mutation, NULL, detail, sizeof(detail)), e->invariant);
}

// Prints the least that breaks the same invariant, and how.
static void explain(const struct sequence *failing, const char *invariant)
{
	char detail[256];
	struct sequence q = *failing;
	sequence_shrink(&q, fails, &(struct expectation){invariant, MUTATION_NONE});
	printf("\nshrunk (model -t FILE plays it):\n");
	sequence_print(&q, stdout);
	printf("\nplayed:\n");
	world_play(&q, MUTATION_NONE, stdout, detail, sizeof(detail));
}

static int run(uint64_t seed, long n)
{
	static struct sequence q;
	struct timespec from, to;
	char detail[256];
	clock_gettime(CLOCK_MONOTONIC, &from);
	uint64_t state = seed;
	for (long i = 0; i < n; i++) {
		sequence_generate(&q, draw64(&state));
		const char *invariant = world_play(&q, MUTATION_NONE, NULL, detail, sizeof(detail));
		if (invariant) {
			printf("FAILED: %s: %s\nsequence %llu (the %ldth of seed %llu; model -q)\n", invariant, detail,
			       (unsigned long long)q.seed, i + 1, (unsigned long long)seed);
			explain(&q, invariant);
			return 1;
		}
	}
	clock_gettime(CLOCK_MONOTONIC, &to);
	printf("model: %ld sequences of seed %llu, %llu turns, %.1f s, %zu invariants: clean\n", n,
	       (unsigned long long)seed, (unsigned long long)world.turns,
	       (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9, invariant_count);
	return 0;
}

static int play(const struct sequence *q, const char *name, bool traced)
{
	char detail[256];
	if (traced)
		sequence_print(q, stdout);
	const char *invariant = world_play(q, MUTATION_NONE, traced ? stdout : NULL, detail, sizeof(detail));
	if (invariant)
		printf("FAILED: %s: %s: %s\n", name, invariant, detail);
	return invariant != NULL;
}

static int play_files(char **paths, int count, bool traced)
{
	static struct sequence q;
	int failed = 0;
	for (int i = 0; i < count; i++) {
		_cleanup_fclose_ FILE *file = fopen(paths[i], "re");
		if (!file || !sequence_read(&q, file)) {
			perror(paths[i]);
			return 2;
		}
		failed |= play(&q, paths[i], traced);
	}
	printf("model: %d sequences played%s\n", count, failed ? "" : ": clean");
	return failed;
}

// --- self-test ---

// The text says all: what is printed and read back fails as well.
static bool survives_printing(const struct sequence *q, struct expectation *e)
{
	static struct sequence copy;
	_cleanup_fclose_ FILE *file = tmpfile();
	if (!file)
		return false;
	sequence_print(q, file);
	rewind(file);
	return sequence_read(&copy, file) && fails(&copy, e);
}

static bool find(enum mutation mutation, bool verbose)
{
	static struct sequence q;
	struct expectation e = {mutations[mutation].invariant, mutation};
	uint64_t state = mutation;
	for (int i = 0; i < SELF_TEST_SEQUENCES; i++) {
		sequence_generate(&q, draw64(&state));
		if (!fails(&q, &e))
			continue;
		int before = q.step_count;
		sequence_shrink(&q, fails, &e);
		bool good = q.step_count <= SHORT_STEPS && survives_printing(&q, &e);
		printf("%-20s %-18s sequence %5d, %3d steps shrunk to %2d%s\n", mutations[mutation].name, e.invariant,
		       i + 1, before, q.step_count, good ? "" : "  NOT SHORT, or not the same when read back");
		if (verbose || !good)
			sequence_print(&q, stdout);
		return good;
	}
	printf("%-20s %-18s NOT FOUND\n", mutations[mutation].name, e.invariant);
	return false;
}

static bool all_named(void)
{
	bool all = true;
	for (size_t i = 0; i < invariant_count; i++) {
		bool named = false;
		for (int m = 1; m < MUTATIONS; m++)
			named |= str_equal(mutations[m].invariant, invariant_names[i]);
		if (!named)
			printf("no mutation breaks %s\n", invariant_names[i]);
		all &= named;
	}
	return all;
}

static int self_test(bool verbose)
{
	bool good = all_named();
	for (int m = 1; m < MUTATIONS; m++)
		good &= find((enum mutation)m, verbose);
	printf("model: self-test %s\n", good ? "passed" : "FAILED");
	return !good;
}

static int usage(void)
{
	fprintf(stderr, "usage: model [-s SEED] [-n N] | -q NUMBER [-t] | -m [-t] | [-t] FILE...\n");
	return 2;
}

int main(int argc, char **argv)
{
	uint64_t seed = 1, number = 0;
	int64_t n = 10000;
	bool traced = false, mutate = false, one = false;
	int option;
	while ((option = getopt(argc, argv, "s:n:q:tm")) != -1) {
		bool good = true;
		if (option == 's')
			good = parse_uint64(optarg, &seed);
		else if (option == 'n')
			good = parse_int64(optarg, &n);
		else if (option == 'q')
			one = good = parse_uint64(optarg, &number);
		else if (option == 't')
			traced = true;
		else if (option == 'm')
			mutate = true;
		else
			good = false;
		if (!good)
			return usage();
	}
	char directory[] = "/tmp/ecsd-model-XXXXXX"; // of the ballast only
	if (!mkdtemp(directory) || world_open(directory) < 0)
		return 2;
	static struct sequence q;
	int status;
	sequence_generate(&q, number);
	if (mutate)
		status = self_test(traced);
	else if (optind < argc)
		status = play_files(argv + optind, argc - optind, traced);
	else
		status = one ? play(&q, "sequence", traced) : run(seed, n);
	world_close();
	_cleanup_free_ char *ballast = xasprintf("%s/ballast", directory);
	unlink(ballast);
	rmdir(directory);
	return status;
}
