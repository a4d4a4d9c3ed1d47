// The licence notice, for `ecsd -license` and for /license of the introspection endpoint.
#pragma once

extern const char license_notice[];
