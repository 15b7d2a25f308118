# deploy/policy: the library as its users link it, beside the evaluator's actor.
foreach(module policy_library policy_ranges)
  hindcast_test(${module}_test SOURCES unit/deploy/policy/${module}_test.c
                LINK hindcast_policy hindcast_rollout hindcast_networks hindcast_test_base hindcast_test_policies)
endforeach()
