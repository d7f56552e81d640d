//! Attributes of a node.

use std::ffi::{CStr, c_char};
use std::ptr::null_mut;

use ort_sys::OrtKernelInfo;

use super::{Failure, Host, ort_call};

/// A node's attributes and name, at kernel creation.
pub(crate) struct NodeInfo {
    host: Host,
    info: *const OrtKernelInfo,
}

impl NodeInfo {
    /// # Safety
    /// `info` must be the host's, and stay valid as long as this.
    pub(crate) unsafe fn new(host: Host, info: *const OrtKernelInfo) -> NodeInfo {
        NodeInfo { host, info }
    }

    /// The node's name; empty if it has none.
    pub(crate) fn name(&self) -> String {
        // SAFETY: `info` is valid; the host writes at most `size` bytes.
        self.string(|out, size| unsafe { ort_call!(self.host, KernelInfo_GetNodeName(self.info, out, size)) })
            .unwrap_or_default()
    }

    /// A float attribute; fails if it is absent or has another type.
    pub(crate) fn float(&self, name: &CStr) -> Result<f32, Failure> {
        let mut value = 0.0;
        // SAFETY: `info` is valid, `name` is NUL-terminated, `value` outlives the call.
        unsafe { ort_call!(self.host, KernelInfoGetAttribute_float(self.info, name.as_ptr(), &mut value)) }?;
        Ok(value)
    }

    /// An int attribute; fails if it is absent or has another type.
    pub(crate) fn int(&self, name: &CStr) -> Result<i64, Failure> {
        let mut value = 0;
        // SAFETY: `info` is valid, `name` is NUL-terminated, `value` outlives the call.
        unsafe { ort_call!(self.host, KernelInfoGetAttribute_int64(self.info, name.as_ptr(), &mut value)) }?;
        Ok(value)
    }

    /// A list of ints; fails if it is absent or has another type.
    pub(crate) fn ints(&self, name: &CStr) -> Result<Vec<i64>, Failure> {
        let mut size = 0;
        // SAFETY: `info` is valid, `name` is NUL-terminated; a null buffer asks for the size.
        unsafe {
            ort_call!(self.host, KernelInfoGetAttributeArray_int64(self.info, name.as_ptr(), null_mut(), &mut size))
        }?;
        let mut values = vec![0i64; size];
        let into = values.as_mut_ptr();
        // SAFETY: as above; `values` holds `size` numbers.
        unsafe { ort_call!(self.host, KernelInfoGetAttributeArray_int64(self.info, name.as_ptr(), into, &mut size)) }?;
        values.truncate(size);
        Ok(values)
    }

    /// A string attribute; fails if it is absent or has another type.
    pub(crate) fn text(&self, name: &CStr) -> Result<String, Failure> {
        self.string(|out, size| {
            // SAFETY: `info` is valid, `name` is NUL-terminated; the host writes at most `size` bytes.
            unsafe { ort_call!(self.host, KernelInfoGetAttribute_string(self.info, name.as_ptr(), out, size)) }
        })
    }

    /// Whether the node has the attribute, whatever its type.
    ///
    /// API 17 has no call for that, and one error code for "not there" and "of another type"; only the texts differ. So
    /// the text is compared with the one for an attribute that no node has, not with one host's wording.
    pub(crate) fn has(&self, name: &CStr) -> bool {
        let absent = c"elonnx_no_such_attribute";
        let text = |name| self.int(name).err().map(|failure: Failure| failure.to_string());
        match (text(name), text(absent)) {
            (Some(here), Some(none)) => here != none.replace(&*absent.to_string_lossy(), &name.to_string_lossy()),
            _ => true,
        }
    }

    /// Reads a string in two calls: its size, then its bytes.
    fn string(&self, read: impl Fn(*mut c_char, *mut usize) -> Result<(), Failure>) -> Result<String, Failure> {
        let mut size = 0;
        read(null_mut(), &mut size)?;
        let mut bytes = vec![0u8; size];
        read(bytes.as_mut_ptr().cast(), &mut size)?;
        bytes.truncate(bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len()));
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}
