#include "logging/regex.h"

#include "common/util.h"
#include "logging/regex_translate.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

// Steps of the matcher (callouts) that one match may take, for each byte and besides. A usual pattern takes none to
// five for a byte.
#define STEPS_BYTE 32
#define STEPS_BASE 200000
// After so many steps the search from each start anew, which has PCRE2's shortcuts, gives way to the one in a single
// pass.
#define STEPS_SEARCH_BYTE 8
#define STEPS_SEARCH_BASE 1000

// Room for the states of the matcher, which has three ints for each in two lists: about 1000. On the stack.
#define WORKSPACE 6144

struct regex {
	// Both with callouts before each item, which count steps. `search` looks for a start first, and begins anew at
	// each; `pass` has `.*` in front and so follows all starts at once: linear, whatever the pattern.
	pcre2_code *search, *pass;
	pcre2_match_data *match; // as `context` made once: no memory is taken while matching
	pcre2_match_context *context;
};

struct steps {
	size_t position, here; // steps at this position: comparing states makes each cost more
	size_t spent, budget;
};

static pcre2_code *compile(const char *pattern, const char *start, uint32_t options, pcre2_compile_context *context,
			   struct error *err);
static int count_step(pcre2_callout_block *block, void *arg);
static int run(const struct regex *regex, const pcre2_code *code, const char *text, size_t len, size_t budget);
static char *make_valid(const char *text, size_t *len);

struct regex *regex_compile(const char *pattern, struct error *err)
{
	pcre2_compile_context *context = pcre2_compile_context_create(NULL);
	struct regex *regex = xcalloc(1, sizeof(*regex));
	struct buf translated = {0};

	if (!context || pcre2_set_newline(context, PCRE2_NEWLINE_LF) != 0)
		abort();
	if (regex_translate(pattern, &translated, err) == 0) {
		regex->search = compile(translated.data ? translated.data : "", "", 0, context, err);
		if (regex->search)
			regex->pass =
				compile(translated.data ? translated.data : "", ".*", PCRE2_ANCHORED, context, err);
	}
	pcre2_compile_context_free(context);
	buf_free(&translated);
	if (!regex->pass)
		return regex_free(regex);
	regex->match = pcre2_match_data_create(1, NULL);
	regex->context = pcre2_match_context_create(NULL);
	if (!regex->match || !regex->context)
		abort();
	return regex;
}

struct regex *regex_free(struct regex *regex)
{
	if (regex) {
		pcre2_match_data_free(regex->match);
		pcre2_match_context_free(regex->context);
		pcre2_code_free(regex->search);
		pcre2_code_free(regex->pass);
		free(regex);
	}
	return NULL;
}

static pcre2_code *compile(const char *pattern, const char *start, uint32_t options, pcre2_compile_context *context,
			   struct error *err)
{
	_cleanup_free_ char *whole = xasprintf("%s(?:%s)", start, pattern);
	int code;
	PCRE2_SIZE offset;
	pcre2_code *compiled = pcre2_compile((PCRE2_SPTR)whole, PCRE2_ZERO_TERMINATED,
					     PCRE2_UTF | PCRE2_DOTALL | PCRE2_ALT_CIRCUMFLEX | PCRE2_AUTO_CALLOUT |
						     PCRE2_NEVER_BACKSLASH_C | PCRE2_NO_AUTO_CAPTURE | options,
					     &code, &offset, context);
	PCRE2_UCHAR reason[128] = "";

	if (!compiled) {
		pcre2_get_error_message(code, reason, sizeof(reason));
		error_set(err, EINVAL, "error parsing regexp: %s", (char *)reason);
	}
	return compiled;
}

// --- matching ---

int regex_matches(const struct regex *regex, const char *text, size_t len)
{
	_cleanup_free_ char *valid = make_valid(text, &len);
	int r;

	if (valid)
		text = valid;
	r = run(regex, regex->search, text, len, STEPS_SEARCH_BASE + STEPS_SEARCH_BYTE * len);
	if (r == -E2BIG)
		r = run(regex, regex->pass, text, len, STEPS_BASE + STEPS_BYTE * len);
	return r;
}

static int count_step(pcre2_callout_block *block, void *arg)
{
	struct steps *steps = arg;

	if (block->current_position != steps->position) {
		steps->position = block->current_position;
		steps->here = 0;
	}
	steps->spent += 1 + steps->here++ / 64;
	return steps->spent > steps->budget ? PCRE2_ERROR_CALLOUT : 0;
}

static int run(const struct regex *regex, const pcre2_code *code, const char *text, size_t len, size_t budget)
{
	int workspace[WORKSPACE];
	struct steps steps = {.budget = budget};
	int r;

	pcre2_set_callout(regex->context, count_step, &steps);
	r = pcre2_dfa_match(code, (PCRE2_SPTR)text, len, 0, PCRE2_NO_UTF_CHECK | PCRE2_DFA_SHORTEST, regex->match,
			    regex->context, workspace, ARRAY_SIZE(workspace));
	// 0: a match, and no room for the text's other ones. What else is negative is a limit that was reached.
	return r >= 0 ? 1 : r == PCRE2_ERROR_NOMATCH ? 0 : -E2BIG;
}

// NULL if the text is UTF-8 already.
static char *make_valid(const char *text, size_t *len)
{
	size_t i = 0, n, out = 0;
	char *valid;

	while (i < *len && (n = (unsigned char)text[i] < 0x80 ? 1 : utf8_length(text + i, *len - i)) > 0)
		i += n;
	if (i == *len)
		return NULL;
	valid = xmalloc(i + 3 * (*len - i));
	memcpy(valid, text, i);
	for (out = i; i < *len; i += n) {
		n = utf8_length(text + i, *len - i);
		memcpy(valid + out, n ? text + i : "\uFFFD", n ? n : 3);
		out += n ? n : 3;
		n = n ? n : 1;
	}
	*len = out;
	return valid;
}

// --- strftime ---

char *regex_from_strftime(const char *format)
{
	static const struct {
		char element;
		const char *pattern;
	} table[] = {
		{'a', "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"},
		{'A', "(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)"},
		{'w', "[0-6]"},
		{'d', "(?:0[1-9]|[1,2][0-9]|3[0,1])"},
		{'b', "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"},
		{'B', "(?:January|February|March|April|May|June|July|August|September|October|November|December)"},
		{'m', "(?:0[1-9]|1[0-2])"},
		{'Y', "\\d{4}"},
		{'y', "\\d{2}"},
		{'H', "(?:[0,1][0-9]|2[0-3])"},
		{'I', "(?:0[0-9]|1[0-2])"},
		{'p', "[A,P]M"},
		{'M', "[0-5][0-9]"},
		{'S', "[0-5][0-9]"},
		{'f', "\\d{6}"},
		{'z', "[+-]\\d{4}"},
		{'Z', "[A-Z]{1,4}T"},
		{'j', "(?:0[0-9][1-9]|[1,2][0-9][0-9]|3[0-5][0-9]|36[0-6])"},
		{'L', "\\.\\d{3}"},
	};
	struct buf out = {0};

	while (*format) {
		size_t literal = strcspn(format, "%"), n;

		buf_append(&out, format, literal);
		format += literal;
		// A last "%" and one before a newline are literal; what is not in the table goes, "%%" included.
		if (*format && (!format[1] || format[1] == '\n')) {
			buf_append(&out, format++, 1);
			continue;
		}
		if (!*format)
			break;
		for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
			if (format[1] == table[i].element)
				buf_append(&out, table[i].pattern, strlen(table[i].pattern));
		}
		n = utf8_length(format + 1, strlen(format + 1));
		format += 1 + (n ? n : 1);
	}
	return buf_take(&out);
}
