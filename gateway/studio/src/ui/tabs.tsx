// Tabs whose choice the caller keeps, usually in the address.
import { Tabs as Base } from "@base-ui/react/tabs";
import type { ReactNode } from "react";

export function Tabs<T extends string>({
  value,
  tabs,
  onChange,
  children,
}: {
  value: T;
  tabs: readonly (readonly [T, string])[];
  onChange: (value: T) => void;
  children: ReactNode;
}) {
  return (
    <Base.Root className="stack" value={value} onValueChange={(next) => onChange(next as T)}>
      <Base.List className="tab-list">
        {tabs.map(([tab, text]) => (
          <Base.Tab key={tab} value={tab} className="tab">
            {text}
          </Base.Tab>
        ))}
      </Base.List>
      {tabs.map(([tab]) => (
        <Base.Panel key={tab} value={tab}>
          {tab === value && children}
        </Base.Panel>
      ))}
    </Base.Root>
  );
}
