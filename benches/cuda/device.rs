//! The GPU: memory, launches, graphs and times, through the driver API that the library itself uses.

use std::error::Error;
use std::ffi::{CStr, CString, c_void};
use std::ptr::null_mut;

use cudarc::driver::sys;
use serde::Serialize;

pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// Calls a function of the driver API; its status becomes an error that names the function. SAFETY is the caller's.
macro_rules! cuda {
    ($function:ident($($argument:expr),* $(,)?)) => {
        status(stringify!($function), sys::$function($($argument),*))
    };
}

fn status(function: &str, result: sys::CUresult) -> Outcome<()> {
    match result {
        sys::CUresult::CUDA_SUCCESS => Ok(()),
        error => Err(format!("{function}: {error:?}").into()),
    }
}

/// What a GPU is.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    pub name: String,
    pub multiprocessors: usize,
    pub l2_bytes: usize,
    pub memory_bytes: usize,
}

/// The first GPU, its primary context (the one that ONNX Runtime uses) and a stream. The context stays current.
pub struct Device {
    pub facts: Facts,
    stream: sys::CUstream,
}

impl Device {
    /// `None` where there is no driver or no GPU.
    pub fn first() -> Outcome<Option<Device>> {
        // SAFETY: looks for the library by the names it has.
        if !unsafe { sys::is_culib_present() } {
            return Ok(None);
        }
        let (mut device, mut count, mut context, mut stream) = (0, 0, null_mut(), null_mut());
        // SAFETY: 0 is the only flag there is.
        match unsafe { sys::cuInit(0) } {
            sys::CUresult::CUDA_ERROR_NO_DEVICE => return Ok(None),
            result => status("cuInit", result)?,
        }
        // SAFETY: out-pointers live during the calls; the context is retained until the process ends.
        unsafe {
            cuda!(cuDeviceGetCount(&mut count))?;
            if count == 0 {
                return Ok(None);
            }
            cuda!(cuDeviceGet(&mut device, 0))?;
            cuda!(cuDevicePrimaryCtxRetain(&mut context, device))?;
            cuda!(cuCtxSetCurrent(context))?;
            cuda!(cuStreamCreate(&mut stream, sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32))?;
        }
        Ok(Some(Device { facts: facts(device)?, stream }))
    }

    pub fn stream(&self) -> *mut c_void {
        self.stream.cast()
    }

    pub fn wait(&self) -> Outcome<()> {
        // SAFETY: the stream lives.
        unsafe { cuda!(cuStreamSynchronize(self.stream)) }
    }

    /// Seconds between the beginning and the end of `work` on the GPU.
    pub fn seconds(&self, work: impl FnOnce() -> Outcome<()>) -> Outcome<f64> {
        let (begin, end) = (Event::new()?, Event::new()?);
        begin.record(self)?;
        work()?;
        end.record(self)?;
        end.seconds_since(&begin)
    }

    /// What `work` launches on the stream, as a graph; an error where it does something that a graph can't hold.
    pub fn capture(&self, work: impl FnOnce() -> Outcome<()>) -> Outcome<Graph> {
        let (mut graph, mut executable) = (null_mut(), null_mut());
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream lives and isn't captured.
        unsafe { cuda!(cuStreamBeginCapture_v2(self.stream, mode)) }?;
        let worked = work();
        // SAFETY: the stream is being captured; this ends it whatever happened.
        let ended = unsafe { cuda!(cuStreamEndCapture(self.stream, &mut graph)) };
        worked?;
        ended?;
        // SAFETY: the graph was just made, and is not needed once it is instantiated.
        unsafe {
            let made = cuda!(cuGraphInstantiateWithFlags(&mut executable, graph, 0));
            cuda!(cuGraphDestroy(graph))?;
            made?;
        }
        Ok(Graph(executable))
    }

    pub fn launch_graph(&self, graph: &Graph) -> Outcome<()> {
        // SAFETY: the graph lives, and what it works on lives as long as the buffers that it was captured with.
        unsafe { cuda!(cuGraphLaunch(graph.0, self.stream)) }
    }

    /// # Safety
    /// `parameters` must be those of the kernel, and what they point to live until the launch is done.
    pub unsafe fn launch(
        &self,
        kernel: &Kernel,
        blocks: u32,
        threads: u32,
        parameters: &mut [*mut c_void],
    ) -> Outcome<()> {
        let parameters = parameters.as_mut_ptr();
        // SAFETY: the caller's.
        unsafe { cuda!(cuLaunchKernel(kernel.0, blocks, 1, 1, threads, 1, 1, 0, self.stream, parameters, null_mut())) }
    }

    /// In stream order.
    pub fn copy(&self, from: u64, to: u64, bytes: usize) -> Outcome<()> {
        // SAFETY: ranges of allocations that live, as the callers compute them from the sizes of both.
        unsafe { cuda!(cuMemcpyDtoDAsync_v2(to, from, bytes, self.stream)) }
    }

    /// In stream order.
    pub fn fill(&self, memory: &Memory, byte: u8) -> Outcome<()> {
        // SAFETY: the whole of an allocation that lives.
        unsafe { cuda!(cuMemsetD8Async(memory.address, byte, memory.bytes, self.stream)) }
    }
}

fn facts(device: sys::CUdevice) -> Outcome<Facts> {
    let attribute = |which| -> Outcome<usize> {
        let mut value = 0;
        // SAFETY: writes one int.
        unsafe { cuda!(cuDeviceGetAttribute(&mut value, which, device)) }?;
        Ok(usize::try_from(value)?)
    };
    let (mut name, mut memory) = ([0; 256], 0);
    // SAFETY: writes at most 255 characters and a NUL; one number.
    unsafe {
        cuda!(cuDeviceGetName(name.as_mut_ptr(), 255, device))?;
        cuda!(cuDeviceTotalMem_v2(&mut memory, device))?;
    }
    // SAFETY: NUL-terminated by the driver.
    let name = unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned();
    Ok(Facts {
        name,
        multiprocessors: attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        l2_bytes: attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?,
        memory_bytes: memory,
    })
}

/// Memory of the GPU.
pub struct Memory {
    pub address: u64,
    pub bytes: usize,
}

impl Memory {
    pub fn new(bytes: usize) -> Outcome<Memory> {
        let mut address = 0;
        // SAFETY: writes one address.
        unsafe { cuda!(cuMemAlloc_v2(&mut address, bytes.max(1))) }?;
        Ok(Memory { address, bytes })
    }

    pub fn of<T: Copy>(values: &[T]) -> Outcome<Memory> {
        let memory = Memory::new(size_of_val(values))?;
        memory.write(0, values)?;
        Ok(memory)
    }

    /// From element `first` on. Waits for the copy.
    pub fn write<T: Copy>(&self, first: usize, values: &[T]) -> Outcome<()> {
        let start = first * size_of::<T>();
        assert!(start + size_of_val(values) <= self.bytes);
        // SAFETY: as many bytes as the slice has, which fit.
        unsafe { cuda!(cuMemcpyHtoD_v2(self.address + start as u64, values.as_ptr().cast(), size_of_val(values))) }
    }

    /// `count` elements from element `first` on. What the stream still writes must be waited for.
    pub fn read<T: Copy + Default>(&self, first: usize, count: usize) -> Outcome<Vec<T>> {
        let mut values = vec![T::default(); count];
        assert!((first + count) * size_of::<T>() <= self.bytes);
        let from = self.address + (first * size_of::<T>()) as u64;
        // SAFETY: as many bytes as the vector has, which are there; callers take types of which any bits are a value.
        unsafe { cuda!(cuMemcpyDtoH_v2(values.as_mut_ptr().cast(), from, size_of_val(&values[..]))) }?;
        Ok(values)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated by `new`, freed once; the driver waits for what still runs.
        unsafe { sys::cuMemFree_v2(self.address) };
    }
}

/// A kernel of a module that stays loaded.
pub struct Kernel(sys::CUfunction);

/// The kernels `names` of a module.
pub fn load<const N: usize>(ptx: &str, names: [&CStr; N]) -> Outcome<[Kernel; N]> {
    let (ptx, mut module) = (CString::new(ptx)?, null_mut());
    // SAFETY: NUL-terminated text.
    unsafe { cuda!(cuModuleLoadData(&mut module, ptx.as_ptr().cast())) }?;
    let mut kernels = names.map(|_| Kernel(null_mut()));
    for (kernel, name) in kernels.iter_mut().zip(names) {
        // SAFETY: the module is loaded, the name NUL-terminated.
        unsafe { cuda!(cuModuleGetFunction(&mut kernel.0, module, name.as_ptr())) }?;
    }
    Ok(kernels)
}

/// Launches that were captured.
pub struct Graph(sys::CUgraphExec);

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: instantiated once, destroyed once.
        unsafe { sys::cuGraphExecDestroy(self.0) };
    }
}

type ElapsedTime = unsafe extern "C" fn(*mut f32, sys::CUevent, sys::CUevent) -> sys::CUresult;

/// cudarc has it only by the name that drivers before CUDA 12.8 lack.
fn elapsed_time() -> Outcome<ElapsedTime> {
    // SAFETY: the library is loaded already; a function of cuda.h with that signature.
    unsafe {
        let library = std::mem::ManuallyDrop::new(libloading::Library::new("libcuda.so.1")?);
        Ok(*library.get::<ElapsedTime>(b"cuEventElapsedTime\0")?)
    }
}

struct Event(sys::CUevent);

impl Event {
    fn new() -> Outcome<Event> {
        let mut event = null_mut();
        // SAFETY: writes one handle.
        unsafe { cuda!(cuEventCreate(&mut event, sys::CUevent_flags::CU_EVENT_DEFAULT as u32)) }?;
        Ok(Event(event))
    }

    fn record(&self, device: &Device) -> Outcome<()> {
        // SAFETY: both live.
        unsafe { cuda!(cuEventRecord(self.0, device.stream)) }
    }

    /// Waits for this event.
    fn seconds_since(&self, begin: &Event) -> Outcome<f64> {
        let mut milliseconds = 0.0;
        // SAFETY: both events are recorded.
        unsafe {
            cuda!(cuEventSynchronize(self.0))?;
            status("cuEventElapsedTime", elapsed_time()?(&mut milliseconds, begin.0, self.0))?;
        }
        Ok(f64::from(milliseconds) / 1e3)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: made once, destroyed once.
        unsafe { sys::cuEventDestroy_v2(self.0) };
    }
}
