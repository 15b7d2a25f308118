# common/rollout, and policies for the tests of evaluator and collector.
hindcast_library(hindcast_test_policies SOURCES ${CMAKE_SOURCE_DIR}/tests/lib/policies.c LINK hindcast_networks)
hindcast_test(rollout_test SOURCES ${CMAKE_SOURCE_DIR}/tests/unit/rollout_test.c
              LINK hindcast_rollout hindcast_test_policies)
