# Plausible wrong answers, each as a change of a solution, with what is wrong about it. Their graders must fail.
# vg_mistake(OP/NAME WHAT OLD NEW) writes the changed solution to the folder of mistakes, from which CMakeLists.txt takes it.
function(vg_mistake exercise what old new)
  file(GLOB solution ${CMAKE_CURRENT_SOURCE_DIR}/solutions/${exercise}.*)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${solution})
  file(READ "${solution}" text)
  string(REPLACE "${old}" "${new}" changed "${text}")
  if(changed STREQUAL text)
    message(FATAL_ERROR "mistakes.cmake: the solution of ${exercise} does not contain '${old}'")
  endif()
  get_filename_component(extension "${solution}" EXT)
  file(GENERATE OUTPUT ${mistakes}/${exercise}${extension} CONTENT "// ${what}.\n${changed}")
  set_property(GLOBAL APPEND PROPERTY vg_mistakes ${exercise})
endfunction()

vg_mistake(activation/prelu_gradient "x = 0 on the positive side" [=[x[i] <= 0;]=] [=[x[i] < 0;]=])
vg_mistake(activation/sigmoid "The formula as it stands: e^-x overflows for x = -100" [=[x < 0 ? x : -x]=] [=[-x]=])
vg_mistake(adam/chunk_table "The bisection ends at a tensor before" [=[table.at(middle) <= number]=] [=[table.at(middle) < number]=])
vg_mistake(adam/step "1 - beta2 from the rounded beta2" [=[static_cast<float>(1 - options.beta2)]=] [=[1 - static_cast<float>(options.beta2)]=])
vg_mistake(attention_gate/attend_backward "The sigmoid's derivative without its second factor" [=[ * (1 - psi)]=] "")
vg_mistake(attention_gate/one_pass_sums "The mean of the gradient is not taken away" [=[ - mean * products[1][j] ]=] [=[ ]=])
vg_mistake(augment/ghosting_matrix "The spectrum's centre is off by one for even lengths" [=[(p - length / 2)]=] [=[(p - (length - 1) / 2)]=])
vg_mistake(augment/spline_weights "The inner weights exchanged"
           [=[(4 - 6 * t * t + 3 * t * t * t) / 6, (4 - 6 * u * u + 3 * u * u * u) / 6]=]
           [=[(4 - 6 * u * u + 3 * u * u * u) / 6, (4 - 6 * t * t + 3 * t * t * t) / 6]=])
vg_mistake(conv3d/input_gradient "Channels are exchanged, taps are not flipped" [=[26 - tap)]=] [=[tap)]=])
vg_mistake(conv3d/sliding_window "The formula as it stands: three loads an output" [=[taps[0] * left + taps[1] * middle]=]
           [=[taps[0] * x.load(w) + taps[1] * x.load(w + 1)]=])
vg_mistake(conv3d/swizzle "By the voxel instead of its group of eight slots: right for 64 channels alone" [=[w * chunks / 8]=] [=[w]=])
vg_mistake(conv3d/winograd_pair "Five multiplications" [=[(x[3] - x[1]) * transformed[3]]=] [=[x[3] * transformed[3] - x[1] * transformed[3]]=])
vg_mistake(conv_transpose3d/taps "Tap 0 for tap 2" "(u - 1) / 2, 2}" "(u - 1) / 2, 0}")
vg_mistake(conv_transpose3d/weight_gradient "Overwrites where it should add" [=[ += sum;]=] [=[ = sum;]=])
vg_mistake(cross_entropy/focal_loss "The factor (1 - p)^gamma taken for a constant"
           [=[(gamma > 0 && q > 0 ? gamma * power / q * log_p * p : 0) - power]=] [=[0 * p - power]=])
vg_mistake(cross_entropy/label_smoothing "The label gets no share of the smoothing" [=[share + (c == label ? 1 - smoothing : 0)]=]
           [=[c == label ? 1 - smoothing : share]=])
vg_mistake(dice/fused_sums "Exponentials of the logits as they are" [=[*std::max_element(logits, logits + channels)]=] [=[0]=])
vg_mistake(dice/tversky "The denominator taken for a constant" [=[-(1 - ratio * (1 - alpha - beta)) / denominator]=] [=[-1 / denominator]=])
vg_mistake(dropout/channel_dropout "A draw for each element" [=[(i * channels + c)]=] [=[((i * voxels + v) * channels + c)]=])
vg_mistake(dropout/threshold "Rounded down: a probability between two multiples of 2^-24 loses a word" [=[std::ceil]=] [=[std::floor]=])
vg_mistake(elementwise/bfloat16_rounding "Ties go up, not to even" [=[0x7FFFu + (bits >> 16 & 1u)]=] [=[0x8000u]=])
vg_mistake(elementwise/constant_division "32 bits of reciprocal whatever the divisor" [=[const int shift = 31 + b]=] [=[const int shift = 32]=])
vg_mistake(elementwise/element_offset "Rows without their halo" [=[stride_w * (extents.w + 2 * placement.halo)]=] [=[stride_w * extents.w]=])
vg_mistake(engine/backward_order "The order of discovery: what is near the loss by one path and far by another comes too early"
           [=[return order;]=] [=[return found;]=])
vg_mistake(engine/copy_on_write "Adds in place, whoever else holds it" [=[so_far.use_count() > 1]=] [=[false]=])
vg_mistake(norm3d/input_gradient "The way through the variance is forgotten" [=[ - xhat * result.dgamma / count]=] "")
vg_mistake(norm3d/merge_moments "Squares are added, though their means differ" [=[ + difference * difference * a.count * share]=] "")
vg_mistake(random/philox_block "The key grows by another constant" [=[key[1] += 0xBB67AE85u]=] [=[key[1] += 0x9E3779B9u]=])
vg_mistake(random/shuffled_index "A remainder in place of walking on: two indices meet" "while (index >= count);\n  return index"
           "while (false);\n  return index % count")
vg_mistake(reduce/block_sums "The last quarter is forgotten" [=[ + first[768]]=] "")
vg_mistake(reduce/pairwise_sum "One after the other" [=[count <= 8]=] [=[count <= (int64_t{1} << 40)]=])
vg_mistake(reduce/thread_independent_sum "Pieces are added in the order in which they finish, as an atomic addition would"
           [=[partial[static_cast<size_t>(piece)] = sum;]=]
           "static std::mutex mutex;\n    const std::lock_guard lock(mutex);\n    partial[0] += sum;")
vg_mistake(resample3d/doubling "Zeros beyond the ends" [=[x[i > 0 ? i - 1 : 0]]=] [=[(i > 0 ? x[i - 1] : 0)]=])
vg_mistake(resample3d/gather_backward "At the last input both neighbours are the same one" [=[if (i1 == i)]=] [=[else if (i1 == i)]=])
vg_mistake(sgd/dampening "The first step dampened too" [=[first_step ? gradient[i]]=] [=[first_step ? (1 - dampening) * gradient[i]]=])
vg_mistake(sgd/velocity "The old rate stays in the velocity" [=[ * (now / before)]=] "")
vg_mistake(softmax/gradient "The diagonal alone, as if each class had a sigmoid" [=[(dy[c] - dot)]=] [=[dy[c] * (1 - y[c])]=])
vg_mistake(softmax/one_pass "The sum is not turned to the new maximum" [=[sum * std::exp(largest - value) + 1]=] [=[sum + 1]=])
vg_mistake(softmax/warp_softmax "The last step of both reductions is missing" [=[d > 0]=] [=[d > 1]=])
