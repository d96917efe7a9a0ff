{{/* Templates that take a list: the root context ($) and the component. */}}

{{- define "marketlens.name" -}}
{{- printf "%s-%s" (index . 0).Release.Name (index . 1) | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "marketlens.selector" -}}
app.kubernetes.io/name: marketlens
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "marketlens.labels" -}}
{{ include "marketlens.selector" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
{{- end -}}

{{- define "marketlens.image" -}}
image: {{ printf "%s:%s" (index (index . 0).Values.images (index . 1)) (index . 0).Values.images.tag | quote }}
imagePullPolicy: {{ (index . 0).Values.images.pullPolicy }}
{{- end -}}

{{/* Security context of a pod, for Kubernetes' standard "restricted". */}}
{{- define "marketlens.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.images.pullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "marketlens.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{/* Settings, mounts and volumes that api and ingest share. */}}
{{- define "marketlens.env" -}}
- {name: MARKETLENS_MILVUS__URI, value: {{ .Values.milvus.uri | quote }}}
- {name: MARKETLENS_MODEL__PATH, value: /models/marketlens-resnet50}
{{- if .Values.settingsSecret }}
- {name: MARKETLENS_SECRETS_DIR, value: /secrets/settings}
{{- end }}
{{- range $name, $value := .Values.settings }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end -}}

{{- define "marketlens.mounts" -}}
- {name: tmp, mountPath: /tmp}
- {name: data, mountPath: /data}
{{- if .Values.settingsSecret }}
- {name: settings, mountPath: /secrets/settings, readOnly: true}
{{- end }}
{{- if .Values.modelClaim }}
- {name: model, mountPath: /models/marketlens-resnet50, readOnly: true}
{{- end }}
{{- if .Values.exportClaim }}
- {name: export, mountPath: /export, readOnly: true}
{{- end }}
{{- end -}}

{{- define "marketlens.volumes" -}}
- name: tmp
  emptyDir: {}
- name: data
  persistentVolumeClaim: {claimName: {{ .Values.data.existingClaim | default (include "marketlens.name" (list . "data")) }}}
{{- with .Values.settingsSecret }}
- name: settings
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- with .Values.modelClaim }}
- name: model
  persistentVolumeClaim: {claimName: {{ . }}, readOnly: true}
{{- end }}
{{- with .Values.exportClaim }}
- name: export
  persistentVolumeClaim: {claimName: {{ . }}, readOnly: true}
{{- end }}
{{- end -}}
