//! Why a document cannot be read.

/// Why a document cannot be read, and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// There is nothing in it.
    #[error("the document holds no text")]
    NoText,
    /// It is pictures only.
    #[error("the PDF holds no text: scanned pages are pictures, run OCR over them first (for instance ocrmypdf)")]
    Scanned,
    /// It asks for a password.
    #[error("the PDF asks for a password: save it without one")]
    Locked,
    /// It is no PDF, or a damaged one.
    #[error("the PDF cannot be read: {0}")]
    Pdf(#[source] pdf_extract::Error),
    /// One of its pages is damaged, or uses what is not understood.
    #[error("page {page} of the PDF cannot be read: {source}; save it anew, for instance by printing it to a PDF")]
    Page {
        /// From 1.
        page: u32,
        /// What is wrong with it.
        #[source]
        source: pdf_extract::OutputError,
    },
    /// It is no zip, or a damaged one.
    #[error("the DOCX cannot be unpacked: {0}; a .doc file has to be saved as .docx first")]
    Zip(#[source] zip::result::ZipError),
    /// A zip of something else.
    #[error("the file is a zip, but no DOCX: it has no word/document.xml")]
    NotDocx,
    /// It unpacks to too much.
    #[error("{part} of the DOCX unpacks to more than {most} bytes: split the document")]
    TooLarge {
        /// Which part.
        part: &'static str,
        /// The limit.
        most: u64,
    },
    /// Reading a part of it broke off.
    #[error("{part} of the DOCX cannot be read: {source}")]
    Part {
        /// Which part.
        part: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A part of it is not the XML it should be.
    #[error("{part} of the DOCX is not valid XML: {source}; open it and save it anew")]
    Xml {
        /// Which part.
        part: &'static str,
        /// What is wrong.
        #[source]
        source: quick_xml::Error,
    },
    /// It is no Parquet file, or a damaged one.
    #[error("the Parquet file cannot be read: {0}")]
    Parquet(#[source] parquet::errors::ParquetError),
    /// A column of a type that has no form in JSON.
    #[error("the Parquet file's rows cannot be written as JSON: {0}; leave out the column, or convert it to text")]
    Column(#[source] arrow_schema::ArrowError),
}
