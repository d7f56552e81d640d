//! ONNX Runtime's C tables: calls, errors, tensors, and the boundary that no panic crosses.
//!
//! Everything here goes through the table that the host handed over ([`Host`]); nothing is global, so one library serves
//! several ONNX Runtimes in a process. The table is asked for as version [`API_VERSION`], a literal: cargo may unify any
//! `api-*` feature into `ort-sys`, and the plugin must still load in old hosts.

mod node_info;

use std::any::Any;
use std::ffi::{CStr, CString, c_void};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{NonNull, null, null_mut};
use std::sync::Mutex;

use half::{bf16, f16};
use ort_sys::{ONNXTensorElementDataType, OrtApi, OrtErrorCode, OrtKernelContext, OrtStatusPtr};
use smallvec::SmallVec;

pub(crate) use node_info::NodeInfo;

/// The oldest API that has all we call, that of ONNX Runtime 1.17. Newer hosts hand it out unchanged.
pub(crate) const API_VERSION: u32 = 17;

/// Calls a function of the host's table.
///
/// `ort_call!(host, Function(arguments))` is for functions that give a status and makes a `Result<(), Failure>`;
/// `ort_call!(host, void Function(arguments))` is for the rest. The SAFETY line at the caller answers for the arguments.
macro_rules! ort_call {
    ($host:expr, void $function:ident($($argument:expr),* $(,)?)) => {
        ((*$crate::runtime::abi::Host::table($host)).$function)($($argument),*)
    };
    ($host:expr, $function:ident($($argument:expr),* $(,)?)) => {
        $crate::runtime::abi::Host::check($host, ((*$crate::runtime::abi::Host::table($host)).$function)($($argument),*))
    };
}
pub(crate) use ort_call;

/// The host's function table, of version [`API_VERSION`].
///
/// Kept as a pointer, never as a reference: where cargo unified a newer `api-*` feature into `ort-sys`, its `OrtApi` is
/// larger than the table of an older host. Only the fields that are called are touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Host(NonNull<OrtApi>);

// SAFETY: the table is immutable, lives as long as the host library, and its functions may be called from any thread.
unsafe impl Send for Host {}
// SAFETY: as for Send.
unsafe impl Sync for Host {}

impl Host {
    /// # Safety
    /// `api` must be a table of version [`API_VERSION`] or newer that stays valid as long as anything made from it.
    pub(crate) unsafe fn new(api: NonNull<OrtApi>) -> Host {
        Host(api)
    }

    pub(crate) fn table(self) -> *const OrtApi {
        self.0.as_ptr()
    }

    /// Takes over the status a host function returned.
    pub(crate) fn check(self, status: OrtStatusPtr) -> Result<(), Failure> {
        if status.0.is_null() { Ok(()) } else { Err(Failure::Host(HostStatus { host: self, status })) }
    }
}

/// An error status of the host's own, released when dropped.
pub(crate) struct HostStatus {
    host: Host,
    status: OrtStatusPtr,
}

impl HostStatus {
    fn message(&self) -> String {
        // SAFETY: the status is not null and ours until `drop`; its message is NUL-terminated and lives as long.
        unsafe { CStr::from_ptr(ort_call!(self.host, void GetErrorMessage(self.status.0))) }
            .to_string_lossy()
            .into_owned()
    }

    fn into_raw(self) -> OrtStatusPtr {
        std::mem::ManuallyDrop::new(self).status
    }
}

impl Drop for HostStatus {
    fn drop(&mut self) {
        // SAFETY: the status is not null, ours, and not used again.
        unsafe { ort_call!(self.host, void ReleaseStatus(self.status.0)) }
    }
}

/// Why a callback did not do its work.
#[derive(thiserror::Error)]
pub(crate) enum Failure {
    /// A function of the host failed; its status is handed back as it is.
    #[error("{}", .0.message())]
    Host(HostStatus),
    /// What the user gave doesn't fit: becomes ONNX Runtime's `INVALID_ARGUMENT`.
    #[error("{0}")]
    Invalid(String),
    /// The device or its driver can't: becomes `RUNTIME_EXCEPTION`.
    #[cfg(feature = "cuda")]
    #[error("{0}")]
    Device(String),
    /// Something that should not happen: becomes `RUNTIME_EXCEPTION`.
    #[error("{0}")]
    Internal(String),
}

impl std::fmt::Debug for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.to_string())
    }
}

impl Failure {
    pub(crate) fn invalid(message: impl Into<String>) -> Failure {
        Failure::Invalid(message.into())
    }
}

/// Makes a status of the host's from a code and a sentence.
///
/// # Safety
/// `api` must hold `CreateStatus`, which every version of the table does.
pub(crate) unsafe fn create_status(api: NonNull<OrtApi>, code: OrtErrorCode, message: &str) -> OrtStatusPtr {
    let message = CString::new(message.replace('\0', " ")).unwrap_or_default();
    // SAFETY: the caller vouches for `api`; the host copies the message.
    unsafe { ((*api.as_ptr()).CreateStatus)(code, message.as_ptr()) }
}

/// Runs a callback's body; errors and panics become a status, so nothing unwinds into the host.
pub(crate) fn guard(host: Host, body: impl FnOnce() -> Result<(), Failure>) -> OrtStatusPtr {
    let (code, message) = match catch(body) {
        Ok(()) => return OrtStatusPtr(null_mut()),
        Err(Failure::Host(status)) => return status.into_raw(),
        Err(Failure::Invalid(message)) => (OrtErrorCode::ORT_INVALID_ARGUMENT, message),
        #[cfg(feature = "cuda")]
        Err(Failure::Device(message)) => (OrtErrorCode::ORT_RUNTIME_EXCEPTION, message),
        Err(Failure::Internal(message)) => (OrtErrorCode::ORT_RUNTIME_EXCEPTION, message),
    };
    // SAFETY: `Host` is a valid table.
    unsafe { create_status(host.0, code, &message) }
}

/// Turns a panic of `body` into [`Failure::Internal`].
pub(crate) fn catch<T>(body: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        let message = panic_message(payload.as_ref());
        // the payload's own drop could panic again
        std::mem::forget(payload);
        Err(Failure::Internal(format!("elonnx: internal error, please report it: {message}")))
    })
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic without a message".to_owned())
}

/// A type that a tensor of the operators can hold.
pub(crate) trait TensorElement: Copy + Send + Sync + 'static {
    /// TensorProto.DataType, which `ONNXTensorElementDataType` repeats.
    const DATA_TYPE: i32;
}

macro_rules! elements {
    ($($type:ty = $data_type:ident),* $(,)?) => {
        $(impl TensorElement for $type {
            const DATA_TYPE: i32 = ONNXTensorElementDataType::$data_type as i32;
        })*
    };
}
elements! {
    f16 = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
    bf16 = ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16,
    f32 = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
    f64 = ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE,
    i32 = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
    i64 = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
}

/// The dimensions of a tensor. Up to eight lie on the stack: a call of an operator on a small batch takes less time than
/// a few allocations.
pub(crate) type Dims = SmallVec<[usize; 8]>;

/// One run of a kernel: its inputs, outputs and threads.
///
/// Calls to the host: 2 to make it, 7 per input, 2 per output, none for what the node leaves out.
pub(crate) struct Context<'a> {
    host: Host,
    context: *mut OrtKernelContext,
    inputs: usize,
    outputs: usize,
    lifetime: PhantomData<&'a OrtKernelContext>,
}

impl<'a> Context<'a> {
    /// # Safety
    /// `context` must be the one the host passes to this run, and `'a` must not outlast the run.
    pub(crate) unsafe fn new(host: Host, context: *mut OrtKernelContext) -> Result<Context<'a>, Failure> {
        let (mut inputs, mut outputs) = (0, 0);
        // SAFETY: the caller vouches for `context`.
        unsafe {
            ort_call!(host, KernelContext_GetInputCount(context, &mut inputs))?;
            ort_call!(host, KernelContext_GetOutputCount(context, &mut outputs))?;
        }
        Ok(Context { host, context, inputs, outputs, lifetime: PhantomData })
    }

    /// Input `index`, `None` where the node leaves it out (too few inputs, or an empty name).
    pub(crate) fn input(&self, index: usize) -> Result<Option<Tensor<'a>>, Failure> {
        if index >= self.inputs {
            return Ok(None);
        }
        let host = self.host;
        let mut value = null();
        // SAFETY: `context` is valid and `index` below the count.
        unsafe { ort_call!(host, KernelContext_GetInput(self.context, index, &mut value)) }?;
        if value.is_null() {
            return Ok(None);
        }
        let mut info = null_mut();
        // SAFETY: `value` is a tensor, the operators take nothing else.
        unsafe { ort_call!(host, GetTensorTypeAndShape(value, &mut info)) }?;
        // SAFETY: `info` was just made and is released once, after its last use.
        let described = unsafe { describe(host, info) };
        // SAFETY: as above.
        unsafe { ort_call!(host, void ReleaseTensorTypeAndShapeInfo(info)) };
        let (data_type, dims) = described?;
        let shape = dims.iter().map(|&d| usize::try_from(d).unwrap_or(0)).collect();
        let mut data: *mut c_void = null_mut();
        // SAFETY: `value` is a tensor. The pointer is only read from: `cast_mut` is what this function's signature asks.
        unsafe { ort_call!(host, GetTensorMutableData(value.cast_mut(), &mut data)) }?;
        Ok(Some(Tensor { data_type, shape, data, lifetime: PhantomData }))
    }

    /// Allocates output `index`; `None` where the node leaves it out.
    ///
    /// To be called once per output and run: each call gives the same memory.
    pub(crate) fn output<T: TensorElement>(
        &self,
        index: usize,
        shape: &[usize],
    ) -> Result<Option<&'a mut [T]>, Failure> {
        let Some(data) = self.allocate(index, shape)? else { return Ok(None) };
        let len = shape.iter().product();
        check_data(data, len, size_of::<T>())?;
        if len == 0 {
            return Ok(Some(&mut []));
        }
        // SAFETY: the host allocated `len` elements of the type that the operator declares for this output, aligned
        // (just checked), and gives it to nobody else during the run. Any bits are a valid T.
        Ok(Some(unsafe { std::slice::from_raw_parts_mut(data.cast::<T>(), len) }))
    }

    /// Allocates output `index` on the device of the kernel and says where; `None` where the node leaves it out.
    #[cfg(feature = "cuda")]
    pub(crate) fn device_output(
        &self,
        index: usize,
        shape: &[usize],
        element_size: usize,
    ) -> Result<Option<u64>, Failure> {
        let Some(data) = self.allocate(index, shape)? else { return Ok(None) };
        check_data(data, shape.iter().product(), element_size)?;
        Ok(Some(data.addr() as u64))
    }

    /// The stream on which the host runs the kernel: a `CUstream` for CUDA; null where the host has none.
    #[cfg(feature = "cuda")]
    pub(crate) fn stream(&self) -> Result<*mut c_void, Failure> {
        let mut stream = null_mut();
        // SAFETY: `context` is valid; the host writes one pointer.
        unsafe { ort_call!(self.host, KernelContext_GetGPUComputeStream(self.context, &mut stream)) }?;
        Ok(stream)
    }

    /// The buffer of output `index`; one function for all types.
    fn allocate(&self, index: usize, shape: &[usize]) -> Result<Option<*mut c_void>, Failure> {
        if index >= self.outputs {
            return Ok(None);
        }
        let dims: SmallVec<[i64; 8]> = shape.iter().map(|&d| d as i64).collect();
        let mut value = null_mut();
        // SAFETY: `context` is valid, `index` below the count, `dims` outlives the call.
        unsafe {
            ort_call!(self.host, KernelContext_GetOutput(self.context, index, dims.as_ptr(), dims.len(), &mut value))
        }?;
        if value.is_null() {
            return Ok(None);
        }
        let mut data: *mut c_void = null_mut();
        // SAFETY: `value` is the tensor just allocated.
        unsafe { ort_call!(self.host, GetTensorMutableData(value, &mut data)) }?;
        Ok(Some(data))
    }

    /// Runs `work(0) … work(count - 1)` on the host's threads (`intra_op_num_threads` of them) and waits.
    ///
    /// # Errors
    /// The failure of the lowest index, so that the message doesn't depend on the threads. A panic is a failure too.
    pub(crate) fn parallel_for(
        &self,
        count: usize,
        work: impl Fn(usize) -> Result<(), Failure> + Sync,
    ) -> Result<(), Failure> {
        if count <= 1 {
            return if count == 1 { work(0) } else { Ok(()) };
        }
        let job = Job { work, failure: Mutex::new(None) };
        // SAFETY: `run_one` matches the type behind the pointer, and the call returns after the last index is done.
        unsafe {
            let user = (&raw const job).cast_mut().cast();
            ort_call!(self.host, KernelContext_ParallelFor(self.context, run_one(&job.work), count, 0, user))
        }?;
        match job.failure.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
            Some((_, failure)) => Err(failure),
            None => Ok(()),
        }
    }
}

struct Job<F> {
    work: F,
    /// the failure with the lowest index so far
    failure: Mutex<Option<(usize, Failure)>>,
}

type ParallelFn = unsafe extern "C" fn(*mut c_void, usize);

/// The C callback for closures of this type.
fn run_one<F: Fn(usize) -> Result<(), Failure> + Sync>(_: &F) -> ParallelFn {
    unsafe extern "C" fn run<F: Fn(usize) -> Result<(), Failure> + Sync>(job: *mut c_void, index: usize) {
        // SAFETY: `parallel_for` passes a `Job<F>` that lives until all indices are done; shared, never mutable.
        let job = unsafe { &*job.cast::<Job<F>>() };
        if let Err(failure) = catch(|| (job.work)(index)) {
            let mut first = job.failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            if first.as_ref().is_none_or(|(lowest, _)| index < *lowest) {
                *first = Some((index, failure));
            }
        }
    }
    run::<F>
}

// SAFETY: a status is plain memory of the host's, which may be released on any thread.
unsafe impl Send for HostStatus {}

/// Element type and dimensions.
///
/// # Safety
/// `info` must be valid.
pub(crate) unsafe fn describe(
    host: Host,
    info: *const ort_sys::OrtTensorTypeAndShapeInfo,
) -> Result<(i32, SmallVec<[i64; 8]>), Failure> {
    let mut data_type = 0i32;
    let mut rank = 0;
    // SAFETY: the caller vouches for `info`. The type is read as an integer: a newer host may know types that the
    // Rust enum lacks.
    unsafe {
        ort_call!(host, GetTensorElementType(info, (&raw mut data_type).cast()))?;
        ort_call!(host, GetDimensionsCount(info, &mut rank))?;
    }
    let mut dims = SmallVec::from_elem(0i64, rank);
    // SAFETY: `dims` holds `rank` elements.
    unsafe { ort_call!(host, GetDimensions(info, dims.as_mut_ptr(), rank)) }?;
    Ok((data_type, dims))
}

/// An input tensor.
pub(crate) struct Tensor<'a> {
    data_type: i32,
    shape: Dims,
    data: *const c_void,
    lifetime: PhantomData<&'a c_void>,
}

impl<'a> Tensor<'a> {
    /// The shape where a look at it is enough.
    pub(crate) fn dims(&self) -> &[usize] {
        &self.shape
    }

    pub(crate) fn into_shape(self) -> Dims {
        self.shape
    }

    /// The elements.
    pub(crate) fn values<T: TensorElement>(&self) -> Result<&'a [T], Failure> {
        let len = self.check(T::DATA_TYPE, size_of::<T>())?;
        if len == 0 {
            return Ok(&[]);
        }
        // SAFETY: the tensor holds `len` elements of this type (checked), aligned (checked), unchanged during the run.
        Ok(unsafe { std::slice::from_raw_parts(self.data.cast::<T>(), len) })
    }

    /// Where the elements lie, on the device of the kernel: not for the CPU to read.
    #[cfg(feature = "cuda")]
    pub(crate) fn device_address(&self, data_type: i32, element_size: usize) -> Result<u64, Failure> {
        self.check(data_type, element_size)?;
        Ok(self.data.addr() as u64)
    }

    /// Whether the elements have this type.
    pub(crate) fn holds<T: TensorElement>(&self) -> bool {
        self.data_type == T::DATA_TYPE
    }

    /// How many elements there are, if they have that type and are aligned to their size; one function for all types.
    fn check(&self, data_type: i32, element_size: usize) -> Result<usize, Failure> {
        if self.data_type != data_type {
            // the host checks types against the operator's schema, so this is a bug of ours or of its
            return Err(Failure::Internal(format!(
                "elonnx: the host passed a tensor of type {} where the operator declares {data_type}",
                self.data_type
            )));
        }
        let len = self.shape.iter().product();
        check_data(self.data, len, element_size)?;
        Ok(len)
    }
}

/// A host may wrap a caller's buffer as it is, aligned or not.
fn check_data(data: *const c_void, len: usize, element_size: usize) -> Result<(), Failure> {
    // the elements that ONNX Runtime hands us are numbers, aligned to their size
    if len > 0 && (data.is_null() || !data.addr().is_multiple_of(element_size)) {
        return Err(Failure::invalid(format!(
            "a tensor's buffer at {data:p} is not aligned to its element size of {element_size} bytes; copy it to aligned \
             memory"
        )));
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::RefCell;

    use ort_sys::OrtStatus;

    use std::ffi::c_char;

    use super::*;

    thread_local! {
        static CREATED: RefCell<Option<(i32, String)>> = const { RefCell::new(None) };
    }

    unsafe extern "system" fn create_status_stub(code: OrtErrorCode, message: *const c_char) -> OrtStatusPtr {
        // SAFETY: `create_status` passes a NUL-terminated string.
        let message = unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned();
        CREATED.with(|c| *c.borrow_mut() = Some((code as i32, message)));
        OrtStatusPtr(NonNull::<OrtStatus>::dangling().as_ptr())
    }

    /// A table that knows `CreateStatus` and nothing else.
    fn stub() -> Host {
        let mut table = Box::new(std::mem::MaybeUninit::<OrtApi>::zeroed());
        // SAFETY: only the one field is written, and `guard` reads no other.
        unsafe { (&raw mut (*table.as_mut_ptr()).CreateStatus).write(create_status_stub) };
        let table = NonNull::from(Box::leak(table)).cast();
        unsafe { Host::new(table) }
    }

    fn guarded(body: impl FnOnce() -> Result<(), Failure>) -> Option<(i32, String)> {
        CREATED.with(|c| c.borrow_mut().take());
        let status = guard(stub(), body);
        let created = CREATED.with(|c| c.borrow_mut().take());
        assert_eq!(status.0.is_null(), created.is_none());
        created
    }

    #[test]
    fn success_is_a_null_status() {
        assert_eq!(guarded(|| Ok(())), None);
    }

    #[test]
    fn a_panic_becomes_a_runtime_exception() {
        let (code, message) = guarded(|| panic!("row {} is gone", 3)).unwrap();
        assert_eq!(code, OrtErrorCode::ORT_RUNTIME_EXCEPTION as i32);
        assert!(message.contains("internal error") && message.contains("row 3 is gone"), "{message}");
        let (_, message) = guarded(|| panic!("plain")).unwrap();
        assert!(message.contains("plain"), "{message}");
    }

    #[test]
    fn a_panic_whose_payload_panics_on_drop_does_not_get_out() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("again");
            }
        }
        let (code, message) = guarded(|| std::panic::panic_any(Bomb)).unwrap();
        assert_eq!(code, OrtErrorCode::ORT_RUNTIME_EXCEPTION as i32);
        assert!(message.contains("panic without a message"), "{message}");
    }

    #[test]
    fn what_the_user_gave_is_an_invalid_argument() {
        let (code, message) = guarded(|| Err(Failure::invalid("labels\0 do not fit"))).unwrap();
        assert_eq!(code, OrtErrorCode::ORT_INVALID_ARGUMENT as i32);
        assert_eq!(message, "labels  do not fit");
    }

    #[test]
    fn a_panic_in_a_parallel_block_is_kept_and_the_lowest_index_wins() {
        let job = Job { work: |i: usize| if i < 2 { Ok(()) } else { panic!("block {i}") }, failure: Mutex::new(None) };
        let run = run_one(&job.work);
        for i in [4, 0, 2, 1, 3] {
            // SAFETY: the pointer is to the job that `run` was made for.
            unsafe { run((&raw const job).cast_mut().cast(), i) };
        }
        let (index, failure) = job.failure.into_inner().unwrap().unwrap();
        assert_eq!(index, 2);
        assert!(failure.to_string().contains("block 2"));
    }

    #[test]
    fn misaligned_buffers_are_refused() {
        let bytes = [0u64; 2];
        let at = bytes.as_ptr().cast::<u8>();
        assert!(check_data(at.cast(), 2, size_of::<f32>()).is_ok());
        assert!(
            check_data(at.wrapping_add(1).cast(), 1, size_of::<f32>()).unwrap_err().to_string().contains("aligned")
        );
        assert!(check_data(std::ptr::null(), 0, size_of::<f32>()).is_ok());
        assert!(check_data(std::ptr::null(), 1, size_of::<f32>()).is_err());
    }
}
