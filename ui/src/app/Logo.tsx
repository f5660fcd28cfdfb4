/** The watchman's eye. */
export function Logo({ size = 24 }: { size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="7" fill="#10202e" />
      <path
        d="M3.5 16C7 10.2 11.3 7.5 16 7.5S25 10.2 28.5 16C25 21.8 20.7 24.5 16 24.5S7 21.8 3.5 16Z"
        fill="none"
        stroke="#e8eef4"
        strokeWidth="2.2"
        strokeLinejoin="round"
      />
      <circle cx="16" cy="16" r="4.6" fill="#38b6c9" />
      <circle cx="16" cy="16" r="1.7" fill="#10202e" />
    </svg>
  );
}
