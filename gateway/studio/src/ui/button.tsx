// Buttons, and links that look like them.
import { createLink, type LinkComponent } from "@tanstack/react-router";
import type { ComponentProps, ReactNode } from "react";
import { Tip } from "./tip";

interface Look {
  look?: "primary" | "plain" | "quiet" | "danger";
  small?: boolean;
}

function classes({ look = "plain", small }: Look, icon: boolean, more?: string): string {
  const names = ["button", `button-${look}`, small && "button-small", icon && "button-icon", more];
  return names.filter(Boolean).join(" ");
}

type ButtonProps = ComponentProps<"button"> & Look;

export function Button({ look, small, className, ...rest }: ButtonProps) {
  const given = { ...(look ? { look } : {}), ...(small ? { small } : {}) };
  return <button type="button" {...rest} className={classes(given, false, className)} />;
}

/** A button that shows only an icon; its name is read out, and shown on hover and focus. */
export function IconButton({
  label,
  look = "quiet",
  small,
  className,
  children,
  ...rest
}: ButtonProps & { label: string; children: ReactNode }) {
  return (
    <Tip text={label}>
      <button
        type="button"
        aria-label={label}
        {...rest}
        className={classes({ look, ...(small ? { small } : {}) }, true, className)}
      >
        {children}
      </button>
    </Tip>
  );
}

function Anchor({ look, small, className, ...rest }: ComponentProps<"a"> & Look) {
  const given = { ...(look ? { look } : {}), ...(small ? { small } : {}) };
  return <a {...rest} className={classes(given, false, className)} />;
}

const Linked = createLink(Anchor);

/** A link to another page, dressed as a button. */
export const ButtonLink: LinkComponent<typeof Anchor> = (props) => <Linked {...props} />;
