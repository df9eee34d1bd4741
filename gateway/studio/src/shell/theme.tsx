// Light, dark, or as the system has it.
import { Monitor, Moon, Sun } from "lucide-react";
import { useState } from "react";
import { IconButton } from "../ui/button";
import { Menu, MenuRadio, MenuRadioItem } from "../ui/popover";

const KEY = "cairn.theme";
const CHOICES = [
  ["system", "As the system", Monitor],
  ["light", "Light", Sun],
  ["dark", "Dark", Moon],
] as const;

export function ThemeMenu() {
  const [theme, setTheme] = useState(() => localStorage.getItem(KEY) ?? "system");
  const choose = (next: string) => {
    setTheme(next);
    if (next === "system") {
      localStorage.removeItem(KEY);
      delete document.documentElement.dataset.theme;
    } else {
      localStorage.setItem(KEY, next);
      document.documentElement.dataset.theme = next;
    }
  };
  const Icon = CHOICES.find(([name]) => name === theme)?.[2] ?? Monitor;
  return (
    <Menu
      side="top"
      trigger={
        <IconButton label="Theme" small>
          <Icon size={16} />
        </IconButton>
      }
    >
      <MenuRadio label="Theme" value={theme} onChange={choose}>
        {CHOICES.map(([name, label, Choice]) => (
          <MenuRadioItem key={name} value={name}>
            <Choice size={16} aria-hidden />
            {label}
          </MenuRadioItem>
        ))}
      </MenuRadio>
    </Menu>
  );
}
