// A place to drop files on, which is also a button that opens the file dialog.
import { Upload } from "lucide-react";
import { useId, useState } from "react";

export function Drop({
  label,
  hint,
  accept,
  multiple,
  onFiles,
}: {
  label: string;
  hint?: string;
  accept?: string;
  multiple?: boolean;
  onFiles: (files: File[]) => void;
}) {
  const id = useId();
  const [over, setOver] = useState(false);
  return (
    <label
      className="drop"
      htmlFor={id}
      data-over={over || undefined}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        const files = [...event.dataTransfer.files];
        if (files.length > 0) onFiles(multiple ? files : files.slice(0, 1));
      }}
    >
      <Upload size={20} aria-hidden />
      <strong>{label}</strong>
      {hint && <span className="small">{hint}</span>}
      <input
        id={id}
        className="hidden-visually"
        type="file"
        multiple={multiple ?? false}
        {...(accept ? { accept } : {})}
        onChange={(event) => {
          const files = [...(event.target.files ?? [])];
          event.target.value = "";
          if (files.length > 0) onFiles(files);
        }}
      />
    </label>
  );
}
