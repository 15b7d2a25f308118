# common/networks, module by module.
foreach(module kernels network gaussian parameters safetensors policy)
  hindcast_test(networks_${module}_test SOURCES ${CMAKE_SOURCE_DIR}/tests/unit/networks_${module}_test.c
                LINK hindcast_networks hindcast_test_base)
endforeach()
hindcast_test(networks_onnx_test SOURCES ${CMAKE_SOURCE_DIR}/tests/unit/networks_onnx_test.c
              LINK hindcast_networks hindcast_test_policies)
