//! Pure views of IP packets: checksums, segmentation, coalescing.
