# common/networks, module by module.
foreach(module kernels kernels_amx network gaussian normalizer parameters safetensors policy policy_onnx)
  hindcast_test(networks_${module}_test SOURCES unit/common/networks/${module}_test.c
                LINK hindcast_networks hindcast_test_base hindcast_test_policies TIMEOUT 120)
endforeach()
