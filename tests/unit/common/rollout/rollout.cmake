hindcast_test(rollout_test SOURCES unit/common/rollout/rollout_test.c LINK hindcast_rollout hindcast_test_policies)
hindcast_test(sawyer_script_test SOURCES unit/common/rollout/sawyer_script_test.c LINK hindcast_rollout TIMEOUT 120)
