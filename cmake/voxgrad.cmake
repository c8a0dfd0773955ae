# One static library per top-level folder. Sources are globbed, so that a new op is a new folder and nothing else.

add_library(vg_options INTERFACE)
target_include_directories(vg_options INTERFACE ${PROJECT_SOURCE_DIR})
set(VG_WARNINGS -Wall -Wextra -Wpedantic -Wshadow -Werror)
target_compile_options(vg_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:${VG_WARNINGS}>)
if(VOXGRAD_SANITIZE)
  target_compile_options(vg_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=address,undefined -fno-omit-frame-pointer
                                              -fno-sanitize-recover=undefined>)
  target_link_options(vg_options INTERFACE -fsanitize=address,undefined)
endif()
if(VOXGRAD_CUDA)
  target_compile_definitions(vg_options INTERFACE VOXGRAD_WITH_CUDA=1)
  target_compile_options(vg_options INTERFACE "$<$<COMPILE_LANGUAGE:CUDA>:-lineinfo;-Werror=all-warnings;--expt-relaxed-constexpr;-Xcompiler=-Wall,-Wextra,-Wno-unused-parameter>")
endif()

# NIfTI-C (its nifti2 library knows both versions): Debian's libnifti-dev ships no CMake package.
find_path(NIFTI_INCLUDE_DIR nifti2_io.h PATH_SUFFIXES nifti REQUIRED)
find_library(NIFTI_LIBRARY NAMES nifti2 REQUIRED)
find_library(ZNZ_LIBRARY NAMES znz REQUIRED)
add_library(vg_nifti INTERFACE)
target_include_directories(vg_nifti SYSTEM INTERFACE ${NIFTI_INCLUDE_DIR})
target_link_libraries(vg_nifti INTERFACE ${NIFTI_LIBRARY} ${ZNZ_LIBRARY})

# cairo draws the pictures: Debian's libcairo2-dev ships no CMake package either.
find_path(CAIRO_INCLUDE_DIR cairo-ft.h PATH_SUFFIXES cairo REQUIRED)
find_library(CAIRO_LIBRARY NAMES cairo REQUIRED)
add_library(vg_cairo INTERFACE)
target_include_directories(vg_cairo SYSTEM INTERFACE ${CAIRO_INCLUDE_DIR})
target_link_libraries(vg_cairo INTERFACE ${CAIRO_LIBRARY} Freetype::Freetype)

# vg_embed(TARGET NAME FILE): the bytes of FILE become vg_NAME .. vg_NAME_end in TARGET, put there by the assembler.
function(vg_embed target name file)
  set(assembly ${CMAKE_CURRENT_BINARY_DIR}/embedded/${name}.S)
  file(CONFIGURE OUTPUT ${assembly} @ONLY CONTENT [[
  .section .rodata
  .global vg_@name@, vg_@name@_end
vg_@name@: .incbin "@file@"
vg_@name@_end: .byte 0
  .section .note.GNU-stack,"",%progbits
]])
  set_source_files_properties(${assembly} PROPERTIES OBJECT_DEPENDS ${file})
  target_sources(${target} PRIVATE ${assembly})
endfunction()

function(vg_add_library name)
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${name}/*.cpp)
  add_library(vg_${name} STATIC ${sources})
  target_link_libraries(vg_${name} ${ARGN} PUBLIC vg_options)
endfunction()

# vg_add_instruction_set_objects(NAME SOURCES OBJECTS): compiles SOURCES once per instruction set, each into its own namespace
# (see kernels/common/simd.h); OBJECTS receives the objects.
function(vg_add_instruction_set_objects name sources result)
  set(isas portable)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    list(APPEND isas avx2 avx512)
  endif()
  set(flags_avx2 -march=x86-64-v3)
  set(flags_avx512 -march=x86-64-v4 -mprefer-vector-width=512 -mtune=icelake-server)
  set(objects)
  foreach(isa IN LISTS isas) # portable first: where the linker must choose between copies, it takes the safe one
    add_library(${name}_${isa} OBJECT ${sources})
    target_compile_definitions(${name}_${isa} PRIVATE VG_ISA=${isa} VG_ISA_${isa}=1)
    target_compile_options(${name}_${isa} PRIVATE ${flags_${isa}} -fno-math-errno -fno-trapping-math)
    target_link_libraries(${name}_${isa} PUBLIC vg_options OpenMP::OpenMP_CXX)
    list(APPEND objects $<TARGET_OBJECTS:${name}_${isa}>)
  endforeach()
  set(${result} ${objects} PARENT_SCOPE)
endfunction()

# kernels: <op>/<op>.cpp is compiled once; <op>/*_cpu.cpp once per instruction set; <op>/*_cuda.cu when CUDA is on.
function(vg_add_kernels)
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/*/*.cpp)
  set(cpu_sources ${sources})
  list(FILTER cpu_sources INCLUDE REGEX "_cpu\\.cpp$")
  list(FILTER sources EXCLUDE REGEX "_cpu\\.cpp$")
  vg_add_instruction_set_objects(vg_kernels "${cpu_sources}" objects)
  if(VOXGRAD_CUDA)
    file(GLOB cuda_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/*/*.cu)
    # Warpgroup instructions exist in code for sm_90a alone, which no other GPU runs. These files are compiled for it in
    # place of sm_90, so that a GPU of 9.0 finds one kind of code and not two.
    set(warpgroup_sources ${cuda_sources})
    list(FILTER warpgroup_sources INCLUDE REGEX "_warpgroup_cuda\\.cu$")
    list(FILTER cuda_sources EXCLUDE REGEX "_warpgroup_cuda\\.cu$")
    set(warpgroup_architectures ${CMAKE_CUDA_ARCHITECTURES})
    list(FILTER warpgroup_architectures EXCLUDE REGEX "^90")
    if("${CMAKE_CUDA_ARCHITECTURES}" MATCHES "virtual")
      list(APPEND warpgroup_architectures 90a-virtual)
    else()
      list(APPEND warpgroup_architectures 90a-real)
    endif()
    add_library(vg_kernels_warpgroup OBJECT ${warpgroup_sources})
    set_target_properties(vg_kernels_warpgroup PROPERTIES CUDA_ARCHITECTURES "${warpgroup_architectures}")
    target_link_libraries(vg_kernels_warpgroup PUBLIC vg_options)
    list(APPEND objects $<TARGET_OBJECTS:vg_kernels_warpgroup>)
  endif()
  add_library(vg_kernels STATIC ${objects} ${sources} ${cuda_sources})
  target_link_libraries(vg_kernels PUBLIC vg_options OpenMP::OpenMP_CXX)
  if(VOXGRAD_CUDA)
    if(CMAKE_CUDA_RUNTIME_LIBRARY STREQUAL "Shared")
      target_link_libraries(vg_kernels PUBLIC CUDA::cudart)
    else()
      target_link_libraries(vg_kernels PUBLIC CUDA::cudart_static)
    endif()
  endif()
endfunction()
