//! The few socket options that no crate wraps.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

/// Sets an option whose value is `value`, an integer or a structure of the kernel's interface.
fn set<T: Copy>(fd: impl AsFd, level: i32, option: i32, value: &T) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `value`, which lives through the call; the
    // kernel only reads it, and checks the length.
    let result = unsafe {
        libc::setsockopt(
            fd.as_fd().as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sets an integer option.
pub(crate) fn set_int(fd: impl AsFd, level: i32, option: i32, value: i32) -> io::Result<()> {
    set(fd, level, option, &value)
}

/// Reads an integer option.
pub(crate) fn int(fd: impl AsFd, level: i32, option: i32) -> io::Result<i32> {
    let mut value = [0i32; 1];
    ints(fd, level, option, &mut value)?;
    Ok(value[0])
}

/// Reads an option that is an array of 32-bit integers, and returns how many there were.
pub(crate) fn ints(
    fd: impl AsFd,
    level: i32,
    option: i32,
    values: &mut [i32],
) -> io::Result<usize> {
    let mut len = size_of_val(values) as libc::socklen_t;
    // SAFETY: the pointer and `len` describe `values`, which is exclusively borrowed; the kernel
    // writes at most `len` bytes, and every pattern is a valid integer.
    let result = unsafe {
        libc::getsockopt(
            fd.as_fd().as_raw_fd(),
            level,
            option,
            values.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(len as usize / size_of::<i32>()) }
}

/// Attaches a classic BPF program that chooses the socket of a `SO_REUSEPORT` group.
pub(crate) fn attach_reuseport_filter(
    fd: impl AsFd,
    program: &mut [libc::sock_filter],
) -> io::Result<()> {
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        filter: program.as_mut_ptr(),
    };
    // `set` passes a pointer to `filter`, whose own pointer stays valid: `program` is borrowed.
    set(fd, libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, &filter)
}
