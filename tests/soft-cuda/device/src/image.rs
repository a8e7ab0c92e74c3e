//! What stands in for CUBIN and PTX: the shared object that the C++ compiler made.
//!
//! A CUBIN is the object's own bytes, whose length its headers tell, as the driver gets no length. PTX
//! is text, so the object is written out in base 16, in comments.

use std::fmt::Write as _;

const BEGIN: &str = "// soft-cuda begin";
const END: &str = "// soft-cuda end";

/// The PTX text of a shared object.
pub fn to_ptx(object: &[u8], arch: u32) -> String {
    let mut text = format!(
        "// PTX of the software CUDA device: a shared object in base 16.\n\
         .version 8.7\n.target sm_{arch}\n.address_size 64\n{BEGIN}\n"
    );
    for line in object.chunks(64) {
        text.push_str("// ");
        for byte in line {
            let _ = write!(text, "{byte:02x}");
        }
        text.push('\n');
    }
    text.push_str(END);
    text.push('\n');
    text
}

/// The shared object in a PTX text.
///
/// # Errors
/// There is none in it.
pub fn from_ptx(text: &str) -> Result<Vec<u8>, String> {
    let lines = text.lines().skip_while(|line| *line != BEGIN).skip(1);
    let mut object = vec![];
    for line in lines.take_while(|line| *line != END) {
        let digits = line.strip_prefix("// ").unwrap_or_default().as_bytes();
        for pair in digits.chunks(2) {
            let byte = std::str::from_utf8(pair)
                .ok()
                .filter(|pair| pair.len() == 2)
                .and_then(|pair| u8::from_str_radix(pair, 16).ok())
                .ok_or("a damaged line")?;
            object.push(byte);
        }
    }
    if !text.contains(END) || object.is_empty() {
        return Err("no object of this device in it (was it compiled by another NVRTC?)".into());
    }
    Ok(object)
}

const HEADER_BYTES: usize = 64;

/// How long an ELF file is, from its headers: the section table stands at its end.
///
/// # Errors
/// It is no 64-bit ELF file.
pub fn elf_bytes(header: &[u8; HEADER_BYTES]) -> Result<usize, String> {
    if header[..5] != [0x7f, b'E', b'L', b'F', 2] {
        return Err("no 64-bit ELF file".into());
    }
    let word = |at: usize| usize::from(u16::from_le_bytes([header[at], header[at + 1]]));
    let mut table = [0; 8];
    table.copy_from_slice(&header[40..48]);
    Ok(u64::from_le_bytes(table) as usize + word(58) * word(60))
}

/// Reads a module image as the driver is given it: an address without a length.
///
/// # Errors
/// It is neither ELF nor text of this device.
///
/// # Safety
/// `image` points to a whole ELF file or to text that ends with a 0 byte.
pub unsafe fn read(image: *const u8) -> Result<Vec<u8>, String> {
    // SAFETY: either kind has at least these four bytes; text is read no further than its end.
    let is_elf = unsafe {
        [0x7f, b'E', b'L', b'F']
            .iter()
            .enumerate()
            .all(|(i, byte)| *image.add(i) == *byte)
    };
    if is_elf {
        let mut header = [0; HEADER_BYTES];
        // SAFETY: an ELF file has a whole header, which says how long it is.
        unsafe {
            image.copy_to(header.as_mut_ptr(), HEADER_BYTES);
            return Ok(std::slice::from_raw_parts(image, elf_bytes(&header)?).to_vec());
        }
    }
    // SAFETY: the caller's promise.
    let text = unsafe { std::ffi::CStr::from_ptr(image.cast()) };
    from_ptx(text.to_str().map_err(|_| "no text")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_comes_back_from_its_ptx() {
        let object: Vec<u8> = (0..1000).map(|i| (i * 7) as u8).collect();
        assert_eq!(from_ptx(&to_ptx(&object, 80)).unwrap(), object);
        assert!(from_ptx(".version 8.7\n.target sm_80\n").is_err());
    }

    #[test]
    fn this_program_is_an_elf_file_as_long_as_its_headers_say() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let header = bytes[..HEADER_BYTES].try_into().unwrap();
        assert_eq!(elf_bytes(header).unwrap(), bytes.len());
    }
}
