"""A test bed for ecsd: an EC2-like instance in a network namespace, with its own Docker engine,
instance metadata service and ECS control plane, all scripted by the tests."""
