//! A libcuda.so whose device is `ptxsim`.
