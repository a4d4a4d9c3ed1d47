#include "common/aws/sigv4.h"
#include "common/util.h"
#include <ctype.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <strings.h>
#include <time.h>

#define ALGORITHM "AWS4-HMAC-SHA256"

struct pair {
	char *name, *value;
};
struct pairs {
	struct pair *items;
	size_t count;
};

// One signing: what both forms need on the way from the request to the signature.
struct signing {
	const struct sigv4_request *request;
	const struct aws_credentials *credentials;
	struct pairs headers, query; // in canonical form, unsorted until canonical_request
	char *signed_headers;        // "host;x-amz-date"
	char date[20];               // 20150830T123600Z
	char *scope;                 // 20150830/us-east-1/service/aws4_request
	char body_hash[65];
	bool with_token;
};

static void signing_start(struct signing *s, const struct sigv4_request *request,
			  const struct aws_credentials *credentials, struct sigv4_result *result);
static void signing_end(struct signing *s);
#define _cleanup_signing_ _cleanup_(signing_end)
static void add_header(struct signing *s, const char *name, const char *value);
static void add_query(struct signing *s, const char *name, const char *value);
static void finish_signed_headers(struct signing *s);
static void sign(struct signing *s, struct sigv4_result *result);
static void give_header(struct sigv4_result *result, const char *name, const char *value);
static char *encode(const char *text, bool keep_slash);

void sigv4_sign_headers(const struct sigv4_request *request, const struct aws_credentials *credentials,
			struct sigv4_result *result)
{
	_cleanup_signing_ struct signing s;

	signing_start(&s, request, credentials, result);
	add_header(&s, "x-amz-date", s.date);
	give_header(result, "X-Amz-Date", s.date);
	if (request->sign_body_header) {
		add_header(&s, "x-amz-content-sha256", s.body_hash);
		give_header(result, "X-Amz-Content-Sha256", s.body_hash);
	}
	if (s.with_token) {
		if (!request->omit_session_token)
			add_header(&s, "x-amz-security-token", credentials->session_token);
		give_header(result, "X-Amz-Security-Token", credentials->session_token);
	}
	finish_signed_headers(&s);
	sign(&s, result);

	_cleanup_free_ char *authorization =
		xasprintf(ALGORITHM " Credential=%s/%s, SignedHeaders=%s, Signature=%s", credentials->access_key_id,
			  s.scope, s.signed_headers, result->signature);
	give_header(result, "Authorization", authorization);
}

void sigv4_sign_query(const struct sigv4_request *request, const struct aws_credentials *credentials,
		      struct sigv4_result *result)
{
	_cleanup_signing_ struct signing s;
	_cleanup_(buf_free) struct buf out = {0};
	char expires[16];

	signing_start(&s, request, credentials, result);
	finish_signed_headers(&s);
	snprintf(expires, sizeof(expires), "%u", request->expires_s);
	_cleanup_free_ char *credential = xasprintf("%s/%s", credentials->access_key_id, s.scope);

	// The token goes behind the others on the wire, signed or not.
	const struct {
		const char *name, *value;
		bool is_signed;
	} parameters[] = {
		{"X-Amz-Algorithm", ALGORITHM, true},
		{"X-Amz-Credential", credential, true},
		{"X-Amz-Date", s.date, true},
		{"X-Amz-SignedHeaders", s.signed_headers, true},
		{"X-Amz-Expires", expires, true},
		{"X-Amz-Security-Token", s.with_token ? credentials->session_token : NULL,
		 !request->omit_session_token},
	};
	if (!str_empty(request->query))
		buf_printf(&out, "%s&", request->query);
	for (size_t i = 0; i < ARRAY_SIZE(parameters); i++) {
		if (!parameters[i].value)
			continue;
		if (parameters[i].is_signed)
			add_query(&s, parameters[i].name, parameters[i].value);
		_cleanup_free_ char *value = encode(parameters[i].value, false);
		buf_printf(&out, "%s=%s&", parameters[i].name, value);
	}
	sign(&s, result);
	buf_printf(&out, "X-Amz-Signature=%s", result->signature);
	result->query = buf_take(&out);
}

void sigv4_result_free(struct sigv4_result *result)
{
	// The canonical request and the headers can hold the session token.
	secret_free(result->canonical_request);
	free(result->string_to_sign);
	secret_free(result->query);
	for (size_t i = 0; i < result->header_count; i++) {
		free(result->headers[i].name);
		secret_free(result->headers[i].value);
	}
	*result = (struct sigv4_result){0};
}

// --- text ---

static bool unreserved(unsigned char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
	       c == '.' || c == '~';
}

static char *encode_bytes(const char *text, size_t len, bool keep_slash)
{
	static const char digits[] = "0123456789ABCDEF";
	char *out = xmalloc(len * 3 + 1), *p = out;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		if (unreserved(c) || (c == '/' && keep_slash)) {
			*p++ = (char)c;
		} else {
			*p++ = '%';
			*p++ = digits[c >> 4];
			*p++ = digits[c & 15];
		}
	}
	*p = '\0';
	return out;
}

static char *encode(const char *text, bool keep_slash)
{
	return encode_bytes(text, strlen(text), keep_slash);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// One name or value of a query string in canonical form. What is percent-encoded on the wire is not encoded
// twice, what is raw (UTF-8) becomes encoded; '+' means a space, as the reference's signer reads it
// (control-plane.md §1.6).
static char *canonical_query_part(const char *text, size_t len)
{
	_cleanup_free_ char *plain = xmalloc(len + 1);
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		char c = text[i] == '+' ? ' ' : text[i];
		int high = c == '%' && i + 2 < len ? hex_digit(text[i + 1]) : -1;
		int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
		if (high >= 0 && low >= 0) {
			c = (char)(high * 16 + low);
			i += 2;
		}
		plain[n++] = c;
	}
	return encode_bytes(plain, n, false);
}

// Trims, and makes one space of each run of white space, line breaks of folded headers included.
static char *squeeze(const char *value)
{
	char *out = xmalloc(strlen(value) + 1), *p = out;
	bool gap = false;

	for (; *value; value++) {
		if (isspace((unsigned char)*value)) {
			gap = p != out;
			continue;
		}
		if (gap)
			*p++ = ' ';
		gap = false;
		*p++ = *value;
	}
	*p = '\0';
	return out;
}

static void hex(const unsigned char *bytes, size_t len, char *out)
{
	for (size_t i = 0; i < len; i++)
		snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

static void sha256_hex(const void *data, size_t len, char out[65])
{
	unsigned char digest[SHA256_DIGEST_LENGTH];

	SHA256(data, len, digest);
	hex(digest, sizeof(digest), out);
}

// --- canonical request ---

// Without empty, "." and ".." segments; a final slash stays, as in AWS's signers.
static char *normalize_path(const char *path)
{
	char *out = xmalloc(strlen(path) + 2);
	size_t n = 0;

	for (const char *p = path; *p;) {
		size_t len = strcspn(p, "/");
		if (len == 2 && p[0] == '.' && p[1] == '.') {
			while (n > 0 && out[--n] != '/') {
			}
		} else if (len > 0 && !(len == 1 && p[0] == '.')) {
			out[n++] = '/';
			memcpy(out + n, p, len);
			n += len;
		}
		p += len;
		p += *p == '/';
	}
	if (n == 0 || str_ends(path, "/"))
		out[n++] = '/';
	out[n] = '\0';
	return out;
}

static char *canonical_path(const struct sigv4_request *request)
{
	const char *sent = str_empty(request->path) ? "/" : request->path;
	_cleanup_free_ char *path = request->keep_path ? xstrdup(sent) : normalize_path(sent);

	return request->double_encode_path ? encode(path, true) : TAKE(path);
}

// Names first, then values: "Param=" must not sort behind "Param-3=".
static int compare_query(const void *a, const void *b)
{
	const struct pair *left = a, *right = b;
	int order = strcmp(left->name, right->name);

	return order ? order : strcmp(left->value, right->value);
}

static int compare_headers(const void *a, const void *b)
{
	return strcmp(((const struct pair *)a)->name, ((const struct pair *)b)->name);
}

static void pairs_add(struct pairs *pairs, char *name, char *value)
{
	pairs->items = xreallocarray(pairs->items, pairs->count + 1, sizeof(*pairs->items));
	pairs->items[pairs->count++] = (struct pair){name, value};
}

static void pairs_free(struct pairs *pairs)
{
	for (size_t i = 0; i < pairs->count; i++) {
		free(pairs->items[i].name);
		secret_free(pairs->items[i].value);
	}
	free(pairs->items);
}

static void add_query(struct signing *s, const char *name, const char *value)
{
	pairs_add(&s->query, encode(name, false), encode(value, false));
}

static void split_query(struct signing *s)
{
	for (const char *p = s->request->query; p && *p;) {
		size_t len = strcspn(p, "&"), name_len = strcspn(p, "=");
		if (name_len > len)
			name_len = len;
		if (len > 0) {
			size_t value_at = name_len < len ? name_len + 1 : len;
			pairs_add(&s->query, canonical_query_part(p, name_len),
				  canonical_query_part(p + value_at, len - value_at));
		}
		p += len;
		p += *p == '&';
	}
}

// Values of one name become one line, in the order given.
static void add_header(struct signing *s, const char *name, const char *value)
{
	_cleanup_free_ char *clean = squeeze(value);

	for (size_t i = 0; i < s->headers.count; i++) {
		struct pair *header = &s->headers.items[i];
		if (strcasecmp(header->name, name) == 0) {
			char *joined = xasprintf("%s,%s", header->value, clean);
			secret_free(header->value);
			header->value = joined;
			return;
		}
	}
	char *lower = xstrdup(name);
	for (char *p = lower; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	pairs_add(&s->headers, lower, TAKE(clean));
}

static void finish_signed_headers(struct signing *s)
{
	struct buf names = {0};

	qsort(s->headers.items, s->headers.count, sizeof(*s->headers.items), compare_headers);
	for (size_t i = 0; i < s->headers.count; i++)
		buf_printf(&names, "%s%s", i ? ";" : "", s->headers.items[i].name);
	s->signed_headers = buf_take(&names);
}

static char *canonical_request(struct signing *s)
{
	struct buf out = {0};
	_cleanup_free_ char *path = canonical_path(s->request);

	if (s->query.count > 1)
		qsort(s->query.items, s->query.count, sizeof(*s->query.items), compare_query);
	buf_printf(&out, "%s\n%s\n", s->request->method, path);
	for (size_t i = 0; i < s->query.count; i++)
		buf_printf(&out, "%s%s=%s", i ? "&" : "", s->query.items[i].name, s->query.items[i].value);
	buf_printf(&out, "\n");
	for (size_t i = 0; i < s->headers.count; i++)
		buf_printf(&out, "%s:%s\n", s->headers.items[i].name, s->headers.items[i].value);
	buf_printf(&out, "\n%s\n%s", s->signed_headers, s->body_hash);
	return buf_take(&out);
}

// --- signature ---

static void hmac(const void *key, size_t key_len, const char *text, unsigned char out[SHA256_DIGEST_LENGTH])
{
	unsigned len = SHA256_DIGEST_LENGTH;
	unsigned char digest[SHA256_DIGEST_LENGTH];

	// Into a copy, as key and out may be the same.
	HMAC(EVP_sha256(), key, (int)key_len, (const unsigned char *)text, strlen(text), digest, &len);
	memcpy(out, digest, sizeof(digest));
	OPENSSL_cleanse(digest, sizeof(digest));
}

static void sign(struct signing *s, struct sigv4_result *result)
{
	unsigned char key[SHA256_DIGEST_LENGTH];
	char hash[65], day[9];

	result->canonical_request = canonical_request(s);
	sha256_hex(result->canonical_request, strlen(result->canonical_request), hash);
	result->string_to_sign = xasprintf(ALGORITHM "\n%s\n%s\n%s", s->date, s->scope, hash);

	snprintf(day, sizeof(day), "%.8s", s->date);
	char *secret = xasprintf("AWS4%s", s->credentials->secret_access_key);
	hmac(secret, strlen(secret), day, key);
	secret_free(secret);
	hmac(key, sizeof(key), s->request->region, key);
	hmac(key, sizeof(key), s->request->service, key);
	hmac(key, sizeof(key), "aws4_request", key);
	hmac(key, sizeof(key), result->string_to_sign, key);
	hex(key, sizeof(key), result->signature);
	OPENSSL_cleanse(key, sizeof(key));
}

static void signing_start(struct signing *s, const struct sigv4_request *request,
			  const struct aws_credentials *credentials, struct sigv4_result *result)
{
	time_t seconds = (time_t)(request->wall_ms / 1000);
	struct tm tm;

	*result = (struct sigv4_result){0};
	*s = (struct signing){
		.request = request, .credentials = credentials, .with_token = !str_empty(credentials->session_token)};
	gmtime_r(&seconds, &tm);
	strftime(s->date, sizeof(s->date), "%Y%m%dT%H%M%SZ", &tm);
	s->scope = xasprintf("%.8s/%s/%s/aws4_request", s->date, request->region, request->service);
	sha256_hex(request->body ? request->body : "", request->body ? request->body_len : 0, s->body_hash);
	add_header(s, "host", request->host);
	for (size_t i = 0; i < request->header_count; i++)
		add_header(s, request->headers[i].name, request->headers[i].value);
	split_query(s);
}

static void signing_end(struct signing *s)
{
	pairs_free(&s->headers);
	pairs_free(&s->query);
	free(s->signed_headers);
	free(s->scope);
}

static void give_header(struct sigv4_result *result, const char *name, const char *value)
{
	result->headers[result->header_count].name = xstrdup(name);
	result->headers[result->header_count++].value = xstrdup(value);
}
