hindcast_test(rollout_test SOURCES unit/common/rollout/rollout_test.c LINK hindcast_rollout hindcast_test_policies)
