# common/logs, module by module. What other programs write is read in tests/integration/test_import.py.
foreach(module csv decimal mapping logs mcap propose resample ros_message source)
  hindcast_test(logs_${module}_test SOURCES unit/common/logs/${module}_test.c LINK hindcast_logs hindcast_test_bags hindcast_test_base hindcast_test_trajectory)
endforeach()
if(TARGET carquet)
  hindcast_test(logs_parquet_test SOURCES unit/common/logs/parquet_test.c
                LINK hindcast_logs hindcast_test_parquet hindcast_test_base)
endif()
