//! Activations: rows of floats in memory that is used again.

use crate::kernels::Cpu;
use crate::kernels::attention::Rows;

/// `(rows, width)`, contiguous. Dropping it hands the memory to the next one: fresh pages would be cleared
/// by the system, and that costs a tenth of an encoder pass.
pub(super) struct Matrix<'a> {
    cpu: &'a Cpu,
    data: Vec<f32>,
    width: usize,
}

impl<'a> Matrix<'a> {
    /// Its numbers are whatever the memory held: to be written before they are read.
    pub fn new(cpu: &'a Cpu, rows: usize, width: usize) -> Self {
        Self {
            cpu,
            data: cpu.buffers().take(rows * width),
            width,
        }
    }

    pub fn rows(&self) -> usize {
        self.data.len() / self.width
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn row(&self, i: usize) -> &[f32] {
        &self.data[i * self.width..][..self.width]
    }

    pub fn data(&self) -> &[f32] {
        &self.data
    }

    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// The columns from `start` on, as attention takes them: rows that are further apart than their width.
    pub fn columns(&self, start: usize) -> Rows<'_> {
        Rows {
            data: &self.data[start..],
            stride: self.width,
            count: self.rows(),
        }
    }

    /// The numbers, for good.
    pub fn into_vec(mut self) -> Vec<f32> {
        std::mem::take(&mut self.data)
    }
}

impl Drop for Matrix<'_> {
    fn drop(&mut self) {
        let data = std::mem::take(&mut self.data);
        if !data.is_empty() {
            self.cpu.buffers().give(data);
        }
    }
}
