hindcast_binary(bench_environment FOLDER bench
                SOURCES ${CMAKE_CURRENT_LIST_DIR}/bench_environment.c ${CMAKE_CURRENT_LIST_DIR}/policy_steps.c
                LINK hindcast_rollout hindcast_networks hindcast_environments)
