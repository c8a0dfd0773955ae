namespace vg {}
