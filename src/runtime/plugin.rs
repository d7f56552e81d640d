//! The plugin: what `register_custom_ops_library` calls, and the domain it registers.

use std::ffi::CStr;
use std::ptr::{NonNull, null_mut};
use std::sync::Mutex;

use ort_sys::{OrtApi, OrtApiBase, OrtCustomOpDomain, OrtErrorCode, OrtSessionOptions, OrtStatusPtr};

use super::abi::{API_VERSION, Failure, Host, create_status, guard, ort_call};
use super::library::{OLDEST, Version};
use super::ops::{Abilities, DOMAIN_NAME, Definition, Op};

/// Marks session options that have the operators, so that registering twice does nothing the second time. Without the
/// mark ONNX Runtime refuses to make the session: "Domain already set in registry".
const REGISTERED_KEY: &CStr = c"ai.elonnx.registered";
const REGISTERED_VALUE: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");

/// What a host may be offered.
fn abilities(host: Version) -> Abilities {
    Abilities {
        // hosts before 1.24 crash while they make the session where a node leaves an optional input out by an empty name
        // and the operator has such a callback
        shapes: host >= Version { major: 1, minor: 24, patch: 0 },
        // hosts before 1.18 refuse a struct that has the fields for it
        in_place: host >= Version { major: 1, minor: 18, patch: 0 },
    }
}

/// From the text of the host; what cannot be read counts as the oldest.
pub(crate) fn parse_version(text: &str) -> Version {
    Version::parse(text).unwrap_or(OLDEST)
}

/// A custom op domain made in one host, with its operators. Sessions point to all of it: it is never freed.
struct Domain {
    host: Host,
    version: Version,
    domain: NonNull<OrtCustomOpDomain>,
    _operators: Box<[Op]>,
}

// SAFETY: the pointer is only handed to the host, under the lock of `DOMAINS`; a domain does not change once made.
unsafe impl Send for Domain {}

/// One domain per host: several ONNX Runtimes may live in one process.
static DOMAINS: Mutex<Vec<Domain>> = Mutex::new(Vec::new());

/// Adds the operators to session options; does nothing if they have them already.
///
/// # Safety
/// `options` must be valid and `host` the ONNX Runtime it comes from.
pub(crate) unsafe fn register(options: *mut OrtSessionOptions, host: Host, version: Version) -> Result<(), Failure> {
    let mut registered = 0;
    // SAFETY: the caller's; the key is NUL-terminated.
    unsafe { ort_call!(host, HasSessionConfigEntry(options, REGISTERED_KEY.as_ptr(), &mut registered)) }?;
    if registered != 0 {
        return Ok(());
    }
    let domain = domain_of(host, version)?;
    // SAFETY: the caller's; the domain lives as long as the library, which is never unloaded (build.rs).
    unsafe {
        ort_call!(host, AddCustomOpDomain(options, domain.as_ptr()))?;
        ort_call!(host, AddSessionConfigEntry(options, REGISTERED_KEY.as_ptr(), REGISTERED_VALUE.as_ptr().cast()))
    }
}

fn domain_of(host: Host, version: Version) -> Result<NonNull<OrtCustomOpDomain>, Failure> {
    let mut domains = DOMAINS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(known) = domains.iter().find(|known| known.host == host && known.version == version) {
        return Ok(known.domain);
    }
    let made = make_domain(host, version)?;
    let domain = made.domain;
    domains.push(made);
    Ok(domain)
}

fn make_domain(host: Host, version: Version) -> Result<Domain, Failure> {
    let mut domain: *mut OrtCustomOpDomain = null_mut();
    // SAFETY: the name is NUL-terminated; the host copies it.
    unsafe { ort_call!(host, CreateCustomOpDomain(DOMAIN_NAME.as_ptr(), &mut domain)) }?;
    let domain = NonNull::new(domain).ok_or_else(|| Failure::Internal("elonnx: the host made no domain".to_owned()))?;
    let abilities = abilities(version);
    let operators: Box<[Op]> = Definition::all().map(|definition| Op::new(host, definition, abilities)).collect();
    for op in operators.iter() {
        // SAFETY: the operators are boxed, and kept with the domain: their addresses stay.
        if let Err(failure) = unsafe { ort_call!(host, CustomOpDomain_Add(domain.as_ptr(), op.as_custom_op())) } {
            // SAFETY: nobody else knows the domain yet.
            unsafe { ort_call!(host, void ReleaseCustomOpDomain(domain.as_ptr())) };
            return Err(failure);
        }
    }
    Ok(Domain { host, version, domain, _operators: operators })
}

/// The entry point of an ONNX Runtime plugin: adds `ai.elonnx` to the session options.
///
/// Python: `options.register_custom_ops_library("libelonnx.so")`; C: `RegisterCustomOpsLibrary_V2`. The operators serve
/// any ONNX Runtime from 1.17 on, several of them in one process, and any number of sessions.
///
/// # Errors
/// As an ONNX Runtime status: a host older than 1.17, by its version.
///
/// # Safety
/// For ONNX Runtime to call, with session options of its own and its API base.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn RegisterCustomOps(
    options: *mut OrtSessionOptions,
    base: *const OrtApiBase,
) -> OrtStatusPtr {
    // SAFETY: the host passes its API base, which has lived since ONNX Runtime 1.0.
    let (api, version) = unsafe { (((*base).GetApi)(API_VERSION), version_text(base)) };
    let Some(api) = NonNull::new(api.cast_mut()) else {
        // SAFETY: as above; version 1 is in every host.
        return unsafe { refuse(((*base).GetApi)(1), &version) };
    };
    // SAFETY: `api` has the version asked for and is never freed by the host.
    let host = unsafe { Host::new(api) };
    guard(host, || {
        // SAFETY: `options` are the host's.
        unsafe { register(options, host, parse_version(&version)) }
    })
}

/// # Safety
/// `base` must be a host's.
pub(crate) unsafe fn version_text(base: *const OrtApiBase) -> String {
    // SAFETY: the caller's; the text is static and NUL-terminated.
    unsafe { CStr::from_ptr(((*base).GetVersionString)()) }.to_string_lossy().into_owned()
}

/// Says that the host is too old, through the first version of its table.
///
/// # Safety
/// `api` must be null or a table.
unsafe fn refuse(api: *const OrtApi, version: &str) -> OrtStatusPtr {
    let Some(api) = NonNull::new(api.cast_mut()) else { return OrtStatusPtr(null_mut()) };
    let sentence = format!(
        "elonnx needs ONNX Runtime 1.{API_VERSION} or newer, this is {version}; without the plugin, models patched by \
         elonnx run on their function bodies"
    );
    // SAFETY: the caller's.
    unsafe { create_status(api, OrtErrorCode::ORT_FAIL, &sentence) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_is_offered_depends_on_its_version() {
        let offered = |text| {
            let abilities = abilities(parse_version(text));
            (abilities.shapes, abilities.in_place)
        };
        for oldest in ["1.9.0", "1.17.3"] {
            assert_eq!(offered(oldest), (false, false), "{oldest}");
        }
        for old in ["1.18.0", "1.23.2"] {
            assert_eq!(offered(old), (false, true), "{old}");
        }
        for new in ["1.24.1", "1.100.0", "2.0.0", "1.31.0-dev"] {
            assert_eq!(offered(new), (true, true), "{new}");
        }
    }

    #[test]
    fn what_is_no_version_is_taken_for_the_oldest() {
        for text in ["", "nightly", "1", "1.x"] {
            assert_eq!(parse_version(text), OLDEST);
        }
        assert_eq!(OLDEST.minor, API_VERSION);
    }

    #[test]
    fn the_mark_is_a_c_string() {
        assert_eq!(REGISTERED_VALUE.matches('\0').count(), 1);
        assert!(REGISTERED_VALUE.ends_with('\0'));
    }
}
