# common/logs, module by module. What other programs write is read in tests/integration/test_import.py.
foreach(module files/csv files/decimal files/mcap messages/ros_message mapping/mapping mapping/resample episodes/logs
        propose/propose propose/propose_names source/source)
  get_filename_component(name ${module} NAME)
  hindcast_test(logs_${name}_test SOURCES unit/common/logs/${module}_test.c
                LINK hindcast_logs hindcast_test_bags hindcast_test_base hindcast_test_trajectory)
endforeach()
if(TARGET carquet)
  hindcast_test(logs_parquet_test SOURCES unit/common/logs/files/parquet_test.c
                LINK hindcast_logs hindcast_test_parquet hindcast_test_base)
endif()
