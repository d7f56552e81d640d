//! The host's stream: all that a call computes is put on it, in order, and nothing waits for it.

use std::ffi::c_void;
use std::ptr::null_mut;

use cudarc::driver::sys::{CUfunction, CUstream, CUstreamCaptureStatus};

use super::context::{ContextState, Current, lock};
use super::driver::{Driver, driver_call};
use super::element::ElementType;
use super::error::CudaError;
use super::launch::{DeviceLimits, Launch, Plan, Scratch};
use super::module::Module;

/// A stream of the host's.
pub(crate) struct Stream {
    pub(crate) driver: &'static Driver,
    pub(crate) handle: CUstream,
}

impl Stream {
    /// # Safety
    /// `handle` must be null or a `CUstream` that lives as long as this.
    pub(crate) unsafe fn new(handle: *mut c_void) -> Result<Stream, CudaError> {
        if handle.is_null() {
            return Err(CudaError::NoStream);
        }
        Ok(Stream { driver: Driver::started()?, handle: handle.cast() })
    }

    /// Puts on the stream what `plan` makes of the device's limits and the stream's scratch memory.
    pub(crate) fn run(
        &self,
        element: ElementType,
        plan: impl FnOnce(DeviceLimits, Scratch) -> Plan,
    ) -> Result<(), CudaError> {
        let current = self.context()?;
        let state = ContextState::of(&current)?;
        let slot = lock(&state.scratch).slot(self)?;
        // held until the last launch is on the stream
        let scratch = lock(slot);
        for launch in &plan(state.limits, *scratch).launches {
            let function = self.function(state, &current, element, launch)?;
            self.launch(function, launch)?;
        }
        Ok(())
    }

    /// Its context, made current.
    fn context(&self) -> Result<Current, CudaError> {
        let mut context = null_mut();
        // SAFETY: the stream lives; writes one handle.
        unsafe { driver_call!(self.driver, cuStreamGetCtx(self.handle, &raw mut context)) }?;
        // SAFETY: the context of a stream lives as long as the stream.
        unsafe { Current::push(self.driver, context) }
    }

    /// The function of a launch; loads its module if this is the first.
    fn function(
        &self,
        state: &ContextState,
        current: &Current,
        element: ElementType,
        launch: &Launch,
    ) -> Result<CUfunction, CudaError> {
        const KERNELS: &str = "the kernels are";
        let mut place = state.module(element);
        let module = match &mut *place {
            Some(module) => module,
            empty => {
                self.not_capturing(KERNELS)?;
                empty.insert(Module::load(self.driver, current, element, &state.limits)?)
            }
        };
        module.function(self.driver, current, launch.kernel, launch.shared, || self.not_capturing(KERNELS))
    }

    fn launch(&self, function: CUfunction, launch: &Launch) -> Result<(), CudaError> {
        let mut arguments = launch.arguments.pointers();
        // SAFETY: the function's parameters are of the sizes of these arguments (a test compares them with the PTX), which
        // the driver copies before it returns; its context is current, and that of the stream. The addresses in the
        // arguments are the host's tensors, as large as the problem says, and the scratch of this stream.
        unsafe {
            driver_call!(
                self.driver,
                cuLaunchKernel(
                    function,
                    launch.grid,
                    1,
                    1,
                    launch.block,
                    1,
                    1,
                    launch.shared,
                    self.handle,
                    arguments.as_mut_ptr(),
                    null_mut(),
                )
            )
        }
    }

    /// Fails if what the stream is given goes into a CUDA graph: what must be made for the first call on a stream can't
    /// be made then. `what` is not there, as a clause.
    pub(crate) fn not_capturing(&self, what: &'static str) -> Result<(), CudaError> {
        let mut status = 0;
        // SAFETY: the stream lives; writes one number.
        unsafe { driver_call!(self.driver, cuStreamIsCapturing(self.handle, &raw mut status)) }?;
        if status == CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE as u32 {
            Ok(())
        } else {
            Err(CudaError::Capturing(what))
        }
    }
}
