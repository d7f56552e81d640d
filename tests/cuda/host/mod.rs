//! A host for the plugin without ONNX Runtime: registers it, makes its kernels and runs them on tensors that lie wherever
//! the test put them.

mod api;
mod kernel;

use std::ffi::{CStr, CString, c_char};
use std::sync::OnceLock;

use elonnx::runtime::RegisterCustomOps;
use ort_sys::{OrtApi, OrtApiBase, OrtCustomOp, OrtSessionOptions};

pub use kernel::{Attribute, Kernel, Node, Tensor, Type};

/// What a function of the plugin, or of the host, fails with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub code: i32,
    pub message: String,
}

/// Session options: what the plugin adds its operators to.
#[derive(Default)]
struct SessionOptions {
    entries: Vec<CString>,
    domains: Vec<*mut Domain>,
}

struct Domain {
    name: CString,
    operators: Vec<*const OrtCustomOp>,
}

/// An ONNX Runtime of some version that has loaded the plugin.
pub struct Host {
    operators: Vec<Operator>,
}

// SAFETY: what the pointers point to belongs to the plugin, which lets any thread use it, and is never freed.
unsafe impl Send for Host {}
// SAFETY: as above.
unsafe impl Sync for Host {}

/// An operator that the plugin registered.
pub struct Operator {
    pub op: *const OrtCustomOp,
    pub name: String,
    /// e.g. CUDAExecutionProvider; none is the CPU
    pub provider: Option<String>,
    /// ONNX's numbers; the first two tell registrations of an operator apart
    pub input_types: Vec<i32>,
    /// input and output pairs that may share memory
    pub in_place: Vec<(i32, i32)>,
}

impl Host {
    /// The host of most tests: the newest version.
    pub fn newest() -> &'static Host {
        static HOST: OnceLock<Host> = OnceLock::new();
        HOST.get_or_init(|| Host::load("1.32.0").expect("the plugin registers"))
    }

    /// A host that says it has this version and loads the plugin.
    pub fn load(version: &str) -> Result<Host, Status> {
        let base = base(version);
        let mut options = SessionOptions::default();
        let pointer: *mut OrtSessionOptions = (&raw mut options).cast();
        // SAFETY: options and base are of this host's kind, which knows what they point to.
        kernel::check(unsafe { RegisterCustomOps(pointer, base) })?;
        assert_eq!(options.domains.len(), 1, "the plugin adds one domain");
        // SAFETY: made by `CreateCustomOpDomain` of this host, and not released.
        let domain = unsafe { &*options.domains[0] };
        assert_eq!(domain.name.as_c_str(), c"ai.elonnx");
        // SAFETY: registered by the plugin, and kept by it for good.
        let operators = domain.operators.iter().map(|&op| unsafe { Operator::read(op) }).collect();
        Ok(Host { operators })
    }

    /// The kernels for this provider.
    pub fn operators(&self, provider: Option<&str>) -> Vec<&Operator> {
        self.operators.iter().filter(|operator| operator.provider.as_deref() == provider).collect()
    }

    /// Picks the registration as ONNX Runtime does: by name, types and provider.
    pub fn find(&self, provider: Option<&str>, name: &str, types: &[i32]) -> &Operator {
        let fits = |operator: &&Operator| operator.name == name && operator.input_types.starts_with(types);
        let provider_name = provider.unwrap_or("CPU");
        self.operators(provider)
            .into_iter()
            .find(fits)
            .unwrap_or_else(|| panic!("no {name} for {types:?} on {provider_name}"))
    }
}

impl Operator {
    /// # Safety
    /// `op` must be an operator of the plugin.
    unsafe fn read(op: *const OrtCustomOp) -> Operator {
        // SAFETY: the caller's; every callback takes the operator it is from.
        unsafe {
            let callbacks = &*op;
            let text = |pointer: *const c_char| CStr::from_ptr(pointer).to_str().expect("UTF-8").to_owned();
            let provider = callbacks.GetExecutionProviderType.expect("a provider")(op);
            let inputs = callbacks.GetInputTypeCount.expect("a count")(op);
            let get_type = callbacks.GetInputType.expect("types");
            Operator {
                op,
                name: text(callbacks.GetName.expect("a name")(op)),
                provider: (!provider.is_null()).then(|| text(provider)),
                input_types: (0..inputs).map(|i| get_type(op, i) as i32).collect(),
                in_place: in_place(op),
            }
        }
    }
}

/// What follows in `OrtCustomOp` from version 18 on; `ort-sys` has it or not by the features that cargo unified in.
#[repr(C)]
struct InPlace {
    get: Option<unsafe extern "system" fn(*mut *mut i32, *mut *mut i32) -> usize>,
    release: Option<unsafe extern "system" fn(*mut i32, *mut i32)>,
}

/// # Safety
/// `op` must be an operator of the plugin.
unsafe fn in_place(op: *const OrtCustomOp) -> Vec<(i32, i32)> {
    // SAFETY: the caller's; the fields are there if the version says so.
    unsafe {
        if (*op).version < 18 {
            return Vec::new();
        }
        let after = std::mem::offset_of!(OrtCustomOp, GetEndVersion) + size_of::<usize>();
        let callbacks = &*op.byte_add(after).cast::<InPlace>();
        let Some(get) = callbacks.get else { return Vec::new() };
        let (mut inputs, mut outputs) = (std::ptr::null_mut(), std::ptr::null_mut());
        let count = get(&mut inputs, &mut outputs);
        let pairs = (0..count).map(|i| (*inputs.add(i), *outputs.add(i))).collect();
        callbacks.release.expect("a release with a get")(inputs, outputs);
        pairs
    }
}

/// The base of a host of a version: `GetVersionString` takes no argument, so each version has functions of its own.
fn base(version: &str) -> *const OrtApiBase {
    macro_rules! versions {
        ($($name:ident: $text:literal, $newest:literal;)*) => {
            match version {
                $($text => {
                    unsafe extern "system" fn $name() -> *const c_char {
                        const { match CStr::from_bytes_with_nul(concat!($text, "\0").as_bytes()) {
                            Ok(text) => text,
                            Err(_) => panic!(),
                        } }.as_ptr()
                    }
                    unsafe extern "system" fn get_api(asked: u32) -> *const OrtApi {
                        if asked <= $newest { api::table() } else { std::ptr::null() }
                    }
                    static BASE: OrtApiBase = OrtApiBase { GetApi: get_api, GetVersionString: $name };
                    &raw const BASE
                })*
                _ => panic!("no host of version {version}"),
            }
        };
    }
    versions! {
        version_16: "1.16.3", 16;
        version_17: "1.17.3", 17;
        version_18: "1.18.1", 18;
        version_19: "1.19.2", 19;
        version_23: "1.23.2", 23;
        version_32: "1.32.0", 32;
    }
}
