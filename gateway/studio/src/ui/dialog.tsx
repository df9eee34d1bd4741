// Dialogs and sheets: focus stays inside, Escape closes, focus returns to where it was.
import { Dialog as Base } from "@base-ui/react/dialog";
import { X } from "lucide-react";
import { type ReactNode, useRef, useState } from "react";
import { Button } from "./button";
import { ErrorNote } from "./feedback";

interface DialogProps {
  open: boolean;
  onClose: () => void;
  title: string;
  description?: ReactNode;
  wide?: boolean;
  children: ReactNode;
}

export function Dialog({ open, onClose, title, description, wide, children }: DialogProps) {
  const popup = useRef<HTMLDivElement>(null);
  // The first thing to fill in, rather than the button that closes.
  const first = () => popup.current?.querySelector<HTMLElement>("input, select, textarea") ?? true;
  return (
    <Base.Root open={open} onOpenChange={(next) => !next && onClose()}>
      <Base.Portal>
        <Base.Backdrop className="scrim" />
        <Base.Popup ref={popup} initialFocus={first} className={wide ? "dialog dialog-wide" : "dialog"}>
          <header className="stack-s">
            <div className="row">
              <Base.Title className="dialog-title">{title}</Base.Title>
              {/* No tooltip here: Escape would only close that. */}
              <Base.Close className="button button-quiet button-icon button-small push" aria-label="Close">
                <X size={16} />
              </Base.Close>
            </div>
            {description && <Base.Description className="quiet">{description}</Base.Description>}
          </header>
          {children}
        </Base.Popup>
      </Base.Portal>
    </Base.Root>
  );
}

/** A panel that slides in from an edge, for small screens. */
export function Sheet({
  open,
  onClose,
  title,
  left,
  children,
}: Omit<DialogProps, "wide"> & { left?: boolean }) {
  return (
    <Base.Root open={open} onOpenChange={(next) => !next && onClose()}>
      <Base.Portal>
        <Base.Backdrop className="scrim" />
        <Base.Popup className={left ? "sheet sheet-left" : "sheet"}>
          <Base.Title className="hidden-visually">{title}</Base.Title>
          {children}
        </Base.Popup>
      </Base.Portal>
    </Base.Root>
  );
}

/** Asks before something that cannot be undone. */
export function Confirm({
  open,
  onClose,
  title,
  children,
  action,
  onConfirm,
}: Omit<DialogProps, "wide" | "description"> & { action: string; onConfirm: () => Promise<unknown> }) {
  const [error, setError] = useState<unknown>();
  const [busy, setBusy] = useState(false);
  const confirm = async () => {
    setBusy(true);
    setError(undefined);
    try {
      await onConfirm();
      onClose();
    } catch (failure) {
      setError(failure);
    } finally {
      setBusy(false);
    }
  };
  return (
    <Dialog open={open} onClose={onClose} title={title}>
      <div>{children}</div>
      <ErrorNote error={error} />
      <div className="dialog-actions">
        <Button onClick={onClose}>Cancel</Button>
        <Button look="danger" onClick={confirm} disabled={busy}>
          {action}
        </Button>
      </div>
    </Dialog>
  );
}
