// The cairn: three stones.
export function Logo({ size = 22 }: { size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 24 24" className="logo" aria-hidden="true">
      <ellipse cx="12" cy="18.4" rx="9" ry="3.5" />
      <ellipse cx="11.3" cy="11.2" rx="6.3" ry="2.8" />
      <ellipse cx="12.5" cy="5.1" rx="3.7" ry="2.2" />
    </svg>
  );
}
