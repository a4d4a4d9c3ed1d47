// The TCP ports of ecs-endpoint.
#pragma once

#define CREDENTIALS_PORT 51679   // credentials-endpoint.md §1
#define INTROSPECTION_PORT 51678 // introspection.md §1
