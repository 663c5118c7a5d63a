"""The attributes of patient, study and series, by keyword; every other attribute is one of the instance.

They are those of PS3.3's modules: Patient and Clinical Trial Subject; General Study, Patient Study and Clinical Trial
Study; General Series, Clinical Trial Series, Frame of Reference and General Equipment.
"""

# ruff: noqa: SIM905 - words are easier to read than their list

from typing import Final

PATIENT: Final = frozenset(
    """
    PatientName PatientID IssuerOfPatientID IssuerOfPatientIDQualifiersSequence TypeOfPatientID PatientBirthDate
    PatientBirthDateInAlternativeCalendar PatientDeathDateInAlternativeCalendar PatientAlternativeCalendar
    PatientSex ReferencedPatientPhotoSequence QualityControlSubject ReferencedPatientSequence PatientBirthTime
    OtherPatientIDs OtherPatientIDsSequence OtherPatientNames EthnicGroup EthnicGroups EthnicGroupCodeSequence
    PatientComments PatientSpeciesDescription PatientSpeciesCodeSequence PatientBreedDescription
    PatientBreedCodeSequence BreedRegistrationSequence StrainDescription StrainNomenclature StrainCodeSequence
    StrainAdditionalInformation StrainStockSequence GeneticModificationsSequence ResponsiblePerson
    ResponsiblePersonRole ResponsibleOrganization PatientIdentityRemoved DeidentificationMethod
    DeidentificationMethodCodeSequence SourcePatientGroupIdentificationSequence
    GroupOfPatientsIdentificationSequence ClinicalTrialSponsorName ClinicalTrialProtocolID ClinicalTrialProtocolName
    ClinicalTrialSiteID ClinicalTrialSiteName ClinicalTrialSubjectID ClinicalTrialSubjectReadingID
    ClinicalTrialProtocolEthicsCommitteeName ClinicalTrialProtocolEthicsCommitteeApprovalNumber
    """.split()
)
STUDY: Final = frozenset(
    """
    StudyInstanceUID StudyDate StudyTime ReferringPhysicianName ReferringPhysicianIdentificationSequence
    ConsultingPhysicianName ConsultingPhysicianIdentificationSequence StudyID AccessionNumber
    IssuerOfAccessionNumberSequence StudyDescription PhysiciansOfRecord PhysiciansOfRecordIdentificationSequence
    NameOfPhysiciansReadingStudy PhysiciansReadingStudyIdentificationSequence RequestingServiceCodeSequence
    ReferencedStudySequence ProcedureCodeSequence ReasonForPerformedProcedureCodeSequence
    AdmittingDiagnosesDescription AdmittingDiagnosesCodeSequence PatientAge PatientSize PatientSizeCodeSequence
    PatientWeight PatientBodyMassIndex MeasuredAPDimension MeasuredLateralDimension MedicalAlerts Allergies
    SmokingStatus PregnancyStatus LastMenstrualDate PatientState Occupation AdditionalPatientHistory AdmissionID
    IssuerOfAdmissionIDSequence ServiceEpisodeID IssuerOfServiceEpisodeIDSequence ServiceEpisodeDescription
    PatientSexNeutered ReasonForVisit ReasonForVisitCodeSequence ClinicalTrialTimePointID
    ClinicalTrialTimePointDescription LongitudinalTemporalOffsetFromEvent LongitudinalTemporalEventType
    ConsentForClinicalTrialUseSequence
    """.split()
)
SERIES: Final = frozenset(
    """
    Modality SeriesInstanceUID SeriesNumber Laterality SeriesDate SeriesTime PerformingPhysicianName
    PerformingPhysicianIdentificationSequence ProtocolName SeriesDescription SeriesDescriptionCodeSequence
    OperatorsName OperatorIdentificationSequence ReferencedPerformedProcedureStepSequence RelatedSeriesSequence
    BodyPartExamined PatientPosition SmallestPixelValueInSeries LargestPixelValueInSeries RequestAttributesSequence
    PerformedProcedureStepID PerformedProcedureStepStartDate PerformedProcedureStepStartTime
    PerformedProcedureStepEndDate PerformedProcedureStepEndTime PerformedProcedureStepDescription
    PerformedProtocolCodeSequence CommentsOnThePerformedProcedureStep AnatomicalOrientationType TreatmentSessionUID
    FrameOfReferenceUID PositionReferenceIndicator Manufacturer InstitutionName InstitutionAddress StationName
    InstitutionalDepartmentName ManufacturerModelName DeviceSerialNumber SoftwareVersions GantryID
    DateOfLastCalibration TimeOfLastCalibration SpatialResolution DeviceUID ClinicalTrialCoordinatingCenterName
    ClinicalTrialSeriesID ClinicalTrialSeriesDescription
    """.split()
)
