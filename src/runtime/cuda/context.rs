//! CUDA contexts: the one that a stream belongs to, made current for as long as a call takes, and what is kept for each.

use std::marker::PhantomData;
use std::ptr::null_mut;
use std::sync::{Mutex, MutexGuard};

use cudarc::driver::sys::{CUcontext, CUdevice, CUdevice_attribute as Attribute};

use super::driver::{Driver, driver_call};
use super::element::ElementType;
use super::error::CudaError;
use super::launch::DeviceLimits;
use super::module::Module;
use super::scratch::ScratchPool;

/// A context that is current on this thread until it is dropped; then the one before it is again.
pub(crate) struct Current {
    driver: &'static Driver,
    pub(crate) context: CUcontext,
    /// what is current belongs to a thread
    thread: PhantomData<*const ()>,
}

impl Current {
    /// # Safety
    /// `context` must be one of the driver's that lives as long as this.
    pub(crate) unsafe fn push(driver: &'static Driver, context: CUcontext) -> Result<Current, CudaError> {
        // SAFETY: the caller's.
        unsafe { driver_call!(driver, cuCtxPushCurrent_v2(context)) }?;
        Ok(Current { driver, context, thread: PhantomData })
    }

    /// The limits of its device.
    pub(crate) fn limits(&self) -> Result<DeviceLimits, CudaError> {
        let mut device = 0;
        // SAFETY: a context is current; writes one number.
        unsafe { driver_call!(self.driver, cuCtxGetDevice(&raw mut device)) }?;
        limits_of(self.driver, device)
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        let mut popped = null_mut();
        // there is nobody to tell of a failure, and nothing to be done about it
        // SAFETY: pops what `push` pushed on this thread.
        unsafe { (self.driver.cuCtxPopCurrent_v2)(&raw mut popped) };
    }
}

/// The limits of a device.
pub(crate) fn limits_of(driver: &Driver, device: CUdevice) -> Result<DeviceLimits, CudaError> {
    let attribute = |attribute: Attribute| {
        let mut value = 0;
        // SAFETY: the device is one of the driver's; writes one number.
        unsafe { driver_call!(driver, cuDeviceGetAttribute(&raw mut value, attribute, device)) }?;
        Ok(u32::try_from(value).unwrap_or(0))
    };
    Ok(DeviceLimits {
        compute_capability: (
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
        multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        shared_per_block: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
        shared_per_multiprocessor: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR)?,
        l2: attribute(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?,
    })
}

/// Tells contexts apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    handle: usize,
    id: u64,
}

/// What is kept for a context, once made as long as the process: contexts of ONNX Runtime (the primary ones) live that
/// long, and taking modules away at the end would race with the driver's own end.
pub(crate) struct ContextState {
    pub(crate) limits: DeviceLimits,
    /// One per [`ElementType`]. A lock each, not one for all: the driver takes seconds to compile a module.
    modules: [Mutex<Option<Module>>; ElementType::ALL.len()],
    pub(crate) scratch: Mutex<ScratchPool>,
}

impl ContextState {
    /// That of the current context.
    pub(crate) fn of(current: &Current) -> Result<&'static ContextState, CudaError> {
        static STATES: Mutex<Vec<(Key, &'static ContextState)>> = Mutex::new(Vec::new());
        // SAFETY: the context is current.
        let id = unsafe { current.driver.context_id(current.context) }?;
        let key = Key { handle: current.context.addr(), id };
        let mut states = lock(&STATES);
        if let Some((_, state)) = states.iter().find(|(known, _)| *known == key) {
            return Ok(state);
        }
        let state: &'static ContextState = Box::leak(Box::new(ContextState {
            limits: current.limits()?,
            modules: [const { Mutex::new(None) }; ElementType::ALL.len()],
            scratch: Mutex::default(),
        }));
        states.push((key, state));
        Ok(state)
    }

    /// The place of a module, loaded or not.
    pub(crate) fn module(&self, element: ElementType) -> MutexGuard<'_, Option<Module>> {
        lock(&self.modules[element as usize])
    }
}

/// What a panic left is whole: every change below a lock is a single one.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
