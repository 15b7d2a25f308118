# deploy/policy: the library as its users link it, beside the evaluator's actor.
hindcast_test(policy_library_test SOURCES unit/deploy/policy/policy_library_test.c
              LINK hindcast_policy hindcast_rollout hindcast_networks hindcast_test_base hindcast_test_policies)
