# common/trajectory/, module by module.
foreach(module signature episode hdf5_chunks episode_filter episode_history episode_holdout episode_pieces dataset foreign_logs hostile_logs minari journal log_store summary)
  hindcast_test(${module}_test SOURCES unit/common/trajectory/${module}_test.c
                LINK hindcast_trajectory hindcast_test_base hindcast_test_trajectory TIMEOUT 180)
endforeach()
